"""python -m amalga.local.bootstrap FOLDER [--own-bucket]: prepare tables, static files, first administrator, bucket."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from pathlib import Path

from amalga.local.processes import write_secret

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
    results = (_stamp(folder), PROJECT / "staticfiles", *([folder / MARKER_FILE] if own_bucket else []))
    return all(path.exists() for path in results) and _stamp(folder).read_text() == _fingerprint()


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


def _stamp(folder: Path) -> Path:
    return folder / "postgres" / "prepared"  # deleted together with the database


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in PROJECT.glob(pattern) if path.is_file()):
        digest.update(f"{path.relative_to(PROJECT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), own_bucket="--own-bucket" in sys.argv[2:])
