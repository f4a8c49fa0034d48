"""Create the missing secrets of a host: make_secrets.py FOLDER. Needs no library.

FOLDER has a folder for each service: `app`, `owner` (the application while it migrates), `database`, `store`. Existing
secrets stay; if two copies differ, the first one is used, as for a key that was restored from a backup; a missing copy
is written again. So it can run before every start.
"""

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

# The files of each secret, and how its value is created.
SECRETS: tuple[tuple[tuple[str, ...], Callable[[], str]], ...] = (
    (("app/SECRET_KEY", "owner/SECRET_KEY"), lambda: secrets.token_urlsafe(50)),
    (("database/POSTGRES_PASSWORD",), lambda: secrets.token_urlsafe(32)),
    (("owner/DATABASE_PASSWORD", "database/OWNER_PASSWORD"), lambda: secrets.token_urlsafe(32)),
    (("app/DATABASE_PASSWORD", "database/APP_PASSWORD"), lambda: secrets.token_urlsafe(32)),
    (("store/ROOT_ACCESS_KEY",), lambda: secrets.token_hex(10)),
    (("store/ROOT_SECRET_KEY",), lambda: secrets.token_urlsafe(30)),
    (("app/AWS_ACCESS_KEY_ID", "owner/AWS_ACCESS_KEY_ID", "store/APP_ACCESS_KEY"), lambda: secrets.token_hex(10)),
    (
        ("app/AWS_SECRET_ACCESS_KEY", "owner/AWS_SECRET_ACCESS_KEY", "store/APP_SECRET_KEY"),
        lambda: secrets.token_urlsafe(30),
    ),
)
FOR_OWNER_AND_GROUP = 0o440


def make(folder: Path) -> list[str]:
    """Create missing secrets; return the names of the written files."""
    written = []
    for names, new in SECRETS:
        known = [name for name in names if (folder / name).exists()]
        value = (folder / known[0]).read_text() if known else new()
        for name in names:
            if name not in known or (folder / name).read_text() != value:
                write(folder / name, value)
                written.append(name)
    return written


def write(path: Path, value: str) -> None:
    """Write the file atomically: a truncated password would never be replaced."""
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
    written = make(Path(sys.argv[1]))
    sys.stdout.write(f"Created {', '.join(written)}.\n" if written else "All secrets exist.\n")
