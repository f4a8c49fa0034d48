"""Secrets of this installation: random, made once, readable by their owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads, from the first byte on; there whole or not at all."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)


def kept_secret(path: Path) -> str:
    """The secret in this file, made at the first call."""
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(50))
    return path.read_text()
