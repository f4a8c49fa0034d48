"""A zip on its way to somebody: whole, or broken off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Self

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.errors import Forbidden, ObjectRefused, Problem, StorageUnavailable
from uploads.models import File, State
from uploads.models.users import load_user
from uploads.services.audit import record_zip
from uploads.services.fair_use import ZIPS, LowestRate, Slot, TooSlow
from uploads.services.readable import require_readable
from uploads.services.refusals import FilesRefused, save_refusal
from uploads.services.zips.archive_format import Member, write
from uploads.services.zips.build import Bundle
from uploads.services.zips.prefetch import Reader

logger = logging.getLogger(__name__)

# Each keeps a thread of the web server for as long as it takes; eight there are, and pages want some.
AT_ONCE = 3
# Of so few files each is asked for before the first byte; of more, those that were refused before.
MAX_ASKED_FOR = 100
RECHECK_SECONDS = 10  # hours may lie between the first file and the last
_places = threading.BoundedSemaphore(AT_ONCE)


class TooBusy(Problem):
    code = "unavailable"
    status_code = 503
    retry_after = 30

    def __init__(self) -> None:
        super().__init__(_("Many zips are on their way just now. Nothing is wrong: try again in half a minute."))


class BrokenOff(StorageUnavailable):
    """What ends a download whose head is sent: only the web server's log shows it, and that must name no file."""

    def __init__(self, problem: Problem) -> None:
        Problem.__init__(self, f"A zip was broken off ({problem.code}).")


def open_zip(bundle: Bundle, *, by: User) -> Download:
    """Begin to read; every file of it is recorded as downloaded. To be iterated over, and closed in any case.

    Raises TooManyAtOnce when this person has enough of them running, TooBusy when this process has, FilesRefused when
    the storage does not give out some of the files, as far as that is known or can be found out quickly, and
    StorageUnavailable when it does not give the first bytes.
    """
    slot = ZIPS.acquire(by)
    if not _places.acquire(blocking=False):
        slot.release()
        raise TooBusy
    reader = Reader([])
    try:
        require_readable([file for file in bundle.files if file.refusal or len(bundle.files) <= MAX_ASKED_FOR])
        reader = Reader(bundle.files)
        reader.begin()
        record_zip((File(pk=file.id, series=file.series, name=file.name) for file in bundle.files), by=by)
    except BaseException as fault:
        reader.close()
        _places.release()
        slot.release()
        if isinstance(fault, ObjectRefused) and reader.refused:
            raise _keep_refused(reader) from None
        raise
    return Download(bundle, reader, slot, by=by)


def _keep_refused(reader: Reader) -> FilesRefused:
    for file, fault in reader.refused:
        save_refusal(file, fault.reason)
    return FilesRefused([(file.name, fault.reason) for file, fault in reader.refused])


class Download:
    """The bytes of a zip, `bundle.length` of them. When one of its files cannot be read as it was uploaded, or is
    closed to this person since, this raises before the end: a client that knows the length knows that the download
    failed."""

    def __init__(self, bundle: Bundle, reader: Reader, slot: Slot, *, by: User) -> None:
        self._bundle = bundle
        self._slot = slot
        self._rate = LowestRate()
        self._given: tuple[float, int] | None = None  # when the last piece was given, and its size
        self._user_id = by.pk
        self._reader = reader
        self._pieces = write(self._entries())
        self._open = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            self._require_rate()
            piece = next(self._pieces)
            self._given = (time.monotonic(), len(piece))
            return piece
        except Problem as problem:
            _keep_refused(self._reader)  # so that the next zip with them does not begin
            detail = getattr(problem, "detail", "")
            logger.warning("zip_failed files=%s fault=%s: %s", len(self._bundle.files), type(problem).__name__, detail)
            raise BrokenOff(problem) from None

    def close(self) -> None:
        """End the reading. Safe to repeat."""
        if self._open:
            self._open = False
            self._reader.close()
            self._pieces.close()
            _places.release()
            self._slot.release()

    def _require_rate(self) -> None:
        """Raise TooSlow when the client has taken too little for a minute: others wait for its thread."""
        if self._given is None:
            return
        given_at, size = self._given
        if not self._rate.is_fast_enough(size=size, seconds=time.monotonic() - given_at):
            raise TooSlow(_("The download was too slow and has ended. Try again on a faster line."))

    def _entries(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        *members, manifest = self._bundle.members
        checked_at = time.monotonic()
        for number, (member, body) in enumerate(zip(members, self._reader.bodies(), strict=True)):
            if time.monotonic() - checked_at >= RECHECK_SECONDS:
                self._require_right(number)
                checked_at = time.monotonic()
            yield member, body
        yield manifest, self._lines(members)

    def _require_right(self, number: int) -> None:
        """Raise Forbidden when a file from `number` on was closed to this person since the zip began. One that was only
        removed or replaced is still sent."""
        left = File.objects.filter(pk__in=[file.id for file in self._bundle.files[number:]], state=State.AVAILABLE)
        user = load_user(self._user_id)
        seen = left.visible_to(user) if user else File.objects.none()
        if left.exclude(pk__in=seen.values("pk")).exists():
            raise Forbidden(_("A file of this zip is no longer open to you. Choose again."))

    def _lines(self, members: list[Member]) -> Iterator[bytes]:
        """As `sha256sum --check` reads them."""
        for digest, member in zip(self._reader.digests, members, strict=True):
            yield f"{digest}  {member.path}\n".encode()
