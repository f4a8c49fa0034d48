"""Make the secrets of a host, each once and never again: make_secrets.py FOLDER. Needs no library.

FOLDER has a folder for each who needs to know: `app`, `database`, `store`. What is there stays; one that somebody lost
is given the others' again, so that it may be run before every start.
"""

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

# Who knows it, and as what.
SECRETS: tuple[tuple[tuple[str, ...], Callable[[], str]], ...] = (
    (("app/SECRET_KEY",), lambda: secrets.token_urlsafe(50)),
    (("app/DATABASE_PASSWORD", "database/POSTGRES_PASSWORD"), lambda: secrets.token_urlsafe(32)),
    (("app/AWS_ACCESS_KEY_ID", "store/ROOT_ACCESS_KEY"), lambda: secrets.token_hex(10)),
    (("app/AWS_SECRET_ACCESS_KEY", "store/ROOT_SECRET_KEY"), lambda: secrets.token_urlsafe(30)),
)
FOR_OWNER_AND_GROUP = 0o440


def make(folder: Path) -> list[str]:
    """What was written: names, no values."""
    written = []
    for names, new in SECRETS:
        known = [name for name in names if (folder / name).exists()]
        value = (folder / known[0]).read_text() if known else new()
        for name in names:
            if name not in known:
                write(folder / name, value)
                written.append(name)
    return written


def write(path: Path, value: str) -> None:
    """Whole or not at all: half a password would be kept for ever."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FOR_OWNER_AND_GROUP)
    with os.fdopen(file, "w") as stream:
        stream.write(value)
        stream.flush()
        os.fsync(stream.fileno())
    scratch.rename(path)


if __name__ == "__main__":
    made = make(Path(sys.argv[1]))
    sys.stdout.write(f"Made {', '.join(made)}.\n" if made else "All secrets are there.\n")
