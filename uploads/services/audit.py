"""Writing down who was given a way to a file's bytes."""

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

# As long as the link lives. A player asks anew for every part of a film that is wanted.
HEAD_SECONDS = 300
EVENTS_BATCH_SIZE = 500


def record_download(file: File, *, by: User, looking: bool = False) -> None:
    """Record that this person was sent to the file's bytes; `looking` at it on its page is recorded once while the
    link lives. While the database keeps nothing, the log is the record: nobody is kept from their files by that."""
    if looking and _was_recorded(file, by):
        return
    detail: dict[str, Any] = {"shown": True} if looking else {}
    if not file.current:
        detail["version"] = str(file.pk)
    with _or_logged([file], by):
        Event.objects.record(Action.DOWNLOAD, by=by, file=file, **detail)


def record_zip(files: Iterable[File], *, by: User) -> None:
    """Record for each of the files that this person was given it, in a zip."""
    left = iter(files)
    while some := list(islice(left, EVENTS_BATCH_SIZE)):
        with _or_logged(some, by):
            Event.objects.record_all(Action.DOWNLOAD, some, by=by, zip=True)


@contextmanager
def _or_logged(files: Sequence[File], by: User) -> Iterator[None]:
    try:
        yield
    except DatabaseError as fault:
        if not is_read_only_error(fault):
            raise
        for file in files:
            logger.warning("download_recorded_here_only file=%s by=%s", file.pk, by.pk)


def _was_recorded(file: File, user: User) -> bool:
    recent = Event.objects.about(file.link).filter(at__gt=seconds_from_now(-HEAD_SECONDS))
    return recent.filter(actor_id=user.pk, action=Action.DOWNLOAD).exists()
