"""Prepare the database, the bucket and the first administrator."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ADMIN = "admin"
MARKED = Path("s3", "amalga", "amalga.json")  # the marker as the embedded server keeps it
# what the tables and the static files are made from, and how
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
    """Whether nothing that `prepare` depends on has changed since it ran, and what it made is still there."""
    if own_bucket and not (folder / MARKED).exists():
        return False
    stamp = _stamp(folder)
    return stamp.exists() and stamp.read_text() == _fingerprint() and (PROJECT / "staticfiles").exists()


def prepare(folder: Path, *, own_bucket: bool) -> None:
    """Migrate, collect static files, create the first administrator. Safe to repeat.

    `own_bucket`: the bucket is the embedded one, so it is ours to mark.
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
    return folder / "postgres" / "prepared"  # so that it goes when the database goes


def _create_administrator(folder: Path) -> None:
    from django.contrib.auth import get_user_model

    people = get_user_model()._default_manager
    if not people.filter(username=ADMIN).exists():
        password = secrets.token_urlsafe(12)
        # The file first: a password that nobody can read any more is of no use.
        write_secret(password_file(folder), password + "\n")
        people.create_superuser(ADMIN, password=password)


def _mark_bucket() -> None:
    from uploads.errors import Problem
    from uploads.services.bucket_owner import claim_marker

    try:
        claim_marker()
    except Problem as problem:  # people can work all the same; what compares bucket and database will refuse
        print(f"amalga: {problem}", file=sys.stderr)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in PROJECT.glob(pattern)):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(PROJECT)} {content}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), own_bucket="--own-bucket" in sys.argv[2:])


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads, from the first byte on; there whole or not at all."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)


def get_or_create_secret(path: Path) -> str:
    """The secret in this file, made at the first call."""
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(50))
    return path.read_text()
