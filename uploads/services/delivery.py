"""The one way in which stored contents leave: presigned URLs of files and previews, and the check before a zip.

A file in quarantine is given out to no one, not even to its owner or an administrator. Nothing else in the program may
presign a download (tests/code/test_architecture.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from uploads import s3
from uploads.errors import Quarantined
from uploads.models import File, Preview, ScanStatus


class Deliverable(Protocol):
    """The fields that are needed of a file, from its row or from a query of some columns."""

    @property
    def name(self) -> str: ...
    @property
    def scan_status(self) -> str: ...
    @property
    def quarantined(self) -> bool: ...


def require_deliverable(files: Iterable[Deliverable]) -> None:
    """Raise Quarantined if one of the files is in quarantine."""
    for file in files:
        if file.quarantined:
            raise Quarantined(file.name, is_infected=file.scan_status == ScanStatus.INFECTED)


def download_url(file: File, *, disposition: str, content_type: str) -> str:
    """Return a presigned URL of the file's contents. Raises Quarantined, StorageUnavailable."""
    require_deliverable([file])
    return s3.download_url(file.key, disposition=disposition, content_type=content_type, store=file.store)


def preview_url(preview: Preview, *, content_type: str) -> str:
    """Return a presigned URL of a preview of a file. Raises Quarantined, StorageUnavailable."""
    require_deliverable([preview.file])
    return s3.preview_url(preview.key, content_type=content_type, store=preview.store)


def excerpt_text(preview: Preview) -> str:
    """Return a text excerpt; empty if the storage has lost it. Raises Quarantined, StorageUnavailable."""
    require_deliverable([preview.file])
    return (s3.read_start(preview.key, max_bytes=preview.size or 1, store=preview.store) or b"").decode(
        "utf-8", "replace"
    )
