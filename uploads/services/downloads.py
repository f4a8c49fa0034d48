"""Downloads: presigned URLs of files and previews, what the storage can serve, and the record of who downloaded what.

This is the one way in which stored contents leave. A file in quarantine is given out to no one, not even to its owner
or an administrator. Nothing else in the program may presign a download (tests/code/test_architecture.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

from django.contrib.auth.models import User
from django.db import DatabaseError

from amalga.db import is_read_only_error
from uploads import s3
from uploads.errors import ObjectRefused, Quarantined, StorageUnavailable
from uploads.models import Action, Event, File, Origin, Preview, Refusal, ScanStatus
from uploads.models.querysets import seconds_from_now
from uploads.s3.signing import DOWNLOAD_SECONDS
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.stored_objects import CHECK_CONCURRENCY, FilesRefused, Stored, save_refusal
from uploads.services.tasks import retry_refused

logger = logging.getLogger(__name__)

EVENTS_BATCH_SIZE = 500


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


# --- refusals of the storage, and the audit log ------------------------------------------------------


def require_readable(files: Sequence[Stored]) -> None:
    """Read one byte of each of these files, concurrently, and save which of them the storage refuses.

    Requests previews of files that were refused before and can be read again. Files without an answer are left to the
    transfer itself. Raises FilesRefused, which names the refused files. Safe to repeat.
    """
    breaker = CircuitBreaker()

    def probe(file: Stored) -> tuple[Stored, str, bool] | None:
        """Return the file, the reason for a refusal, and whether it is refused now. None if unavailable."""
        try:
            breaker.require(file.store)
            archived = s3.require_readable(file.key, size=file.size, store=file.store)
        except ObjectRefused as error:
            return file, error.reason, True
        except StorageUnavailable:
            breaker.record_failure(file.store)
            return None
        return file, Refusal.ARCHIVED if archived else "", False

    with ThreadPoolExecutor(CHECK_CONCURRENCY) as threads:
        results = list(filter(None, threads.map(probe, files)))
    for file, reason, _refused in results:
        save_refusal(file, reason)
    retry_refused([file.id for file, _reason, refused in results if file.refusal and not refused])
    if refusals := [(file.name, reason) for file, reason, refused in results if refused and _is_certain(file, reason)]:
        raise FilesRefused(refusals)


def _is_certain(file: Stored, reason: str) -> bool:
    """Return whether to trust the refusal. An upload was readable once, so an unexplained denial must happen twice."""
    return reason != Refusal.DENIED or bool(file.refusal) or file.origin != Origin.UPLOADED


def record_download(file: File, *, by: User, inline: bool = False) -> None:
    """Record that this person was redirected to the file's bytes; viewing it `inline` is recorded once while the URL is
    valid. While the database is read-only, the log is the record, so that downloads go on.
    """
    if inline and _was_recorded(file, by):
        return
    detail: dict[str, Any] = {"shown": True} if inline else {}
    if not file.current:
        detail["version"] = str(file.pk)
    with _log_when_read_only([file], by):
        Event.objects.record(Action.DOWNLOAD, by=by, file=file, **detail)


def record_zip(files: Iterable[File], *, by: User) -> None:
    """Record a download of each of the files in a zip."""
    remaining = iter(files)
    while batch := list(islice(remaining, EVENTS_BATCH_SIZE)):
        with _log_when_read_only(batch, by):
            Event.objects.record_all(Action.DOWNLOAD, batch, by=by, zip=True)


@contextmanager
def _log_when_read_only(files: Sequence[File], by: User) -> Iterator[None]:
    """Log the downloads instead when the database is read-only."""
    try:
        yield
    except DatabaseError as error:
        if not is_read_only_error(error):
            raise
        for file in files:
            logger.warning("download_event_not_saved file=%s by=%s", file.pk, by.pk)


def _was_recorded(file: File, user: User) -> bool:
    # A media player sends a request for each part of a file that it plays, as long as a presigned URL is valid.
    recent = Event.objects.about(file.permanent_id).filter(at__gt=seconds_from_now(-DOWNLOAD_SECONDS))
    return recent.filter(actor_id=user.pk, action=Action.DOWNLOAD).exists()
