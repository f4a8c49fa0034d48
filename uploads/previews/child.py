"""`python -m uploads.previews.child FILE TYPE FOLDER`: make the pictures of one file, in a process of its own.

It reads FILE, writes `thumbnail.webp`, `picture.webp` and `told.json` into FOLDER, and is not believed. The limits
are set before any of the file is read.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

MIB = 1024**2
MOST_MEMORY_BYTES = 1200 * MIB  # addresses, of which the decoders' libraries take 200 MiB; 100 megapixels fit
MOST_CPU_SECONDS = 20
MOST_WRITTEN_BYTES = 16 * MIB
MOST_OPEN_FILES = 64
POLITE = 10  # pages go before pictures


def limit() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MOST_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MOST_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, MOST_WRITTEN_BYTES),
        (resource.RLIMIT_NOFILE, MOST_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.nice(POLITE)


def main(file: str, media_type: str, folder: str) -> None:
    limit()
    from uploads.previews.draw import Undrawable, draw  # the decoders, and only now

    told: dict[str, Any]
    try:
        told = {"sizes": draw(Path(file), media_type, Path(folder))}
    except Undrawable as problem:
        told = {"why": problem.why}
    except MemoryError:
        told = {"why": "too_large"}
    (Path(folder) / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
