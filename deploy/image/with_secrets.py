"""Run a command with secrets in its environment: with_secrets.py FOLDER COMMAND…

Each file of the folder is a variable with the name of the file. Variables that are already set stay. Needs no library.
"""

import os
import sys
from pathlib import Path


def secrets_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in folder.iterdir() if path.is_file() and path.name.isupper()}


if __name__ == "__main__":
    folder, *command = sys.argv[1:]
    if not command:
        sys.exit("with_secrets.py FOLDER COMMAND…")
    try:
        os.environ.update({**secrets_of(Path(folder)), **os.environ})
        os.execvp(command[0], command)  # noqa: S606 - replaces this process, so that signals reach it
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
