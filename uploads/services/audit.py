"""Record downloads in the audit log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from django.contrib.auth.models import User
from django.db import DatabaseError

from amalga.db import is_read_only_error
from uploads.models import Action, Event, File
from uploads.models.querysets import seconds_from_now

logger = logging.getLogger(__name__)

# As long as a presigned URL is valid. A media player sends a request for each part of a file that it plays.
HEAD_SECONDS = 300
EVENTS_BATCH_SIZE = 500


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
    except DatabaseError as fault:
        if not is_read_only_error(fault):
            raise
        for file in files:
            logger.warning("download_event_not_saved file=%s by=%s", file.pk, by.pk)


def _was_recorded(file: File, user: User) -> bool:
    recent = Event.objects.about(file.link).filter(at__gt=seconds_from_now(-HEAD_SECONDS))
    return recent.filter(actor_id=user.pk, action=Action.DOWNLOAD).exists()
