"""`python -m uploads.previews.sandbox FILE TYPE FOLDER`: render the previews of one file in a process of its own.

It reads FILE and writes `thumbnail.webp`, `picture.webp` and `report.json` into FOLDER. The parent does not trust
them. The limits are set before any of the file is read.
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
MAX_MEMORY_BYTES = 1200 * MIB  # address space; 100 megapixels with transparency fit
MIN_MEMORY_BYTES = 384 * MIB  # less cannot render a photo
# Left to the worker that starts the child, and to the kernel's cache of the files that both read and write.
RESERVED_BYTES = 256 * MIB
MAX_OOM_SCORE = "1000"  # the end of the kernel's range: Documentation/filesystems/proc.rst, 3.1
MAX_CPU_SECONDS = 20
MAX_WRITTEN_BYTES = 16 * MIB
MAX_OPEN_FILES = 64
NICENESS = 10  # web requests have priority over previews


def memory_limit(machine_bytes: int) -> int:
    """Return how many bytes the child may use on a machine, or in a container, with this much memory."""
    return max(MIN_MEMORY_BYTES, min(MAX_MEMORY_BYTES, machine_bytes - RESERVED_BYTES))


def limit() -> None:
    """Set the limits of this process. If the machine runs out of memory, the kernel kills it before the worker."""
    with contextlib.suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text(MAX_OOM_SCORE)
    for resource_id, limit_value in (
        (resource.RLIMIT_AS, memory_limit(capacity.memory_limit())),
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, MAX_WRITTEN_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(resource_id, (limit_value, limit_value))
    os.nice(NICENESS)


def main(file: str, media_type: str, folder: str) -> None:
    limit()
    from uploads.previews.render_image import RenderError, draw  # imports the decoders, after the limits are set

    report: dict[str, Any]
    try:
        report = {"sizes": draw(Path(file), media_type, Path(folder))}
    except RenderError as error:
        report = {"why": error.why}
    except MemoryError:
        report = {"why": "too_large"}
    (Path(folder) / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
