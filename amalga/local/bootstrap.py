"""Prepare the database, the bucket and the first administrator."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ADMIN = "admin"
MARKER_FILE = Path("s3", "amalga", "amalga.json")  # the bucket marker in the embedded server's folder
# sources of the tables and the static files
SOURCES = (
    "requirements.txt",
    "amalga/local/bootstrap.py",
    "amalga/settings/*.py",
    "uploads/migrations/*.py",
    "uploads/static/**/*",
)


def password_file(folder: Path) -> Path:
    return folder / "admin-password"


def is_prepared(folder: Path, *, own_bucket: bool) -> bool:
    """Return whether the sources of `prepare` are unchanged since it ran, and its results still exist."""
    if own_bucket and not (folder / MARKER_FILE).exists():
        return False
    stamp = _stamp(folder)
    return stamp.exists() and stamp.read_text() == _fingerprint() and (PROJECT / "staticfiles").exists()


def prepare(folder: Path, *, own_bucket: bool) -> None:
    """Migrate, collect static files, create the first administrator. Safe to repeat.

    `own_bucket`: the bucket is the embedded one, so it can be marked as ours.
    """
    import django
    from django.core.management import call_command

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    _create_administrator(folder)
    if own_bucket:
        _mark_bucket()
    if _stamp(folder).parent.exists():
        write_secret(_stamp(folder), _fingerprint())


def _stamp(folder: Path) -> Path:
    return folder / "postgres" / "prepared"  # deleted together with the database


def _create_administrator(folder: Path) -> None:
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    if not users.filter(username=ADMIN).exists():
        password = secrets.token_urlsafe(12)
        # The file first: a password that cannot be read any more is useless.
        write_secret(password_file(folder), password + "\n")
        users.create_superuser(ADMIN, password=password)


def _mark_bucket() -> None:
    from uploads.errors import Problem
    from uploads.services.bucket_guard import ensure_marker

    try:
        ensure_marker()
    except Problem as problem:  # the site works; commands that compare bucket and database will refuse
        print(f"amalga: {problem}", file=sys.stderr)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in PROJECT.glob(pattern)):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(PROJECT)} {content}\n".encode())
    return digest.hexdigest()


def write_secret(path: Path, text: str) -> None:
    """Write a file atomically that only its owner can read, from the first byte on."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)


def get_or_create_secret(path: Path) -> str:
    """Return the secret in this file, created by the first call."""
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(50))
    return path.read_text()


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), own_bucket="--own-bucket" in sys.argv[2:])
