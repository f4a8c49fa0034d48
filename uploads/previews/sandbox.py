"""`python -m uploads.previews.sandbox FILE TYPE FOLDER`: make the pictures of one file, in a process of its own.

It reads FILE, writes `thumbnail.webp`, `picture.webp` and `told.json` into FOLDER, and is not believed. The limits
are set before any of the file is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from amalga import capacity

MIB = 1024**2
MAX_MEMORY_BYTES = 1200 * MIB  # addresses; 100 megapixels with transparency fit
MIN_MEMORY_BYTES = 384 * MIB  # less draws no photo
# What is left to the worker that starts the child, and to the kernel for the files that both read and write.
RESERVED_BYTES = 256 * MIB
FIRST_TO_DIE = "1000"  # the kernel's range ends here: Documentation/filesystems/proc.rst, 3.1
MAX_CPU_SECONDS = 20
MAX_WRITTEN_BYTES = 16 * MIB
MAX_OPEN_FILES = 64
POLITE = 10  # pages go before pictures


def memory_limit(machine_bytes: int) -> int:
    """How many bytes a child may take on a machine, or in a container, with this much memory."""
    return max(MIN_MEMORY_BYTES, min(MAX_MEMORY_BYTES, machine_bytes - RESERVED_BYTES))


def limit() -> None:
    """Bind this process before it reads anything. Where memory ends all the same, it ends before the worker does."""
    with contextlib.suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_DIE)
    for what, most in (
        (resource.RLIMIT_AS, memory_limit(capacity.memory_limit())),
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, MAX_WRITTEN_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.nice(POLITE)


def main(file: str, media_type: str, folder: str) -> None:
    limit()
    from uploads.previews.render_image import RenderError, draw  # the decoders, and only now

    told: dict[str, Any]
    try:
        told = {"sizes": draw(Path(file), media_type, Path(folder))}
    except RenderError as problem:
        told = {"why": problem.why}
    except MemoryError:
        told = {"why": "too_large"}
    (Path(folder) / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
