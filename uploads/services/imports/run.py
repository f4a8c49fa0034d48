"""One import from end to end: what the bucket has under a prefix becomes files, batch after batch."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, DataError, IntegrityError, connection

from uploads import s3
from uploads.errors import Problem
from uploads.models import Finding, Folder, Report, RunOutcome, Trouble
from uploads.services.bucket_owner import require_marker
from uploads.services.folders import ensure
from uploads.services.imports.copy_rows import Added, Owned, add, existing_keys
from uploads.services.imports.key_mapping import (
    OWN_FOLDERS,
    EmptyFolder,
    ImportCandidate,
    RejectedKey,
    is_own,
    read_key,
    require_foreign,
)

logger = logging.getLogger(__name__)

COMMAND = "import_bucket"
BATCH_KEYS = 10_000
WRITERS = 3
MAX_PLACES = 10_000  # paths whose folders are remembered
BEHIND_HEX = "~"  # comes after all that our own keys begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Owned):
    """What is brought in, and how: `folder` is the clean path of the folder that all of it goes under."""

    folder: str = ""


@dataclass(slots=True)
class ImportStats:
    """What came of the objects so far; without applying, what would come of them."""

    objects: int = 0
    files: int = 0
    bytes: int = 0
    known: int = 0  # have a file already
    empty_folders: int = 0
    own: int = 0  # Amalga's
    refused: int = 0
    archived: int = 0  # of those that are files now


class Step(NamedTuple):
    """How far an import is after a batch: all figures, and of this batch what was refused and a few examples.

    `after` is where it began, if not at the beginning.
    """

    figures: ImportStats
    refused: Sequence[RejectedKey]
    examples: Sequence[ImportCandidate]
    after: str = ""


@dataclass(slots=True)
class _Batch:
    """Neighbouring objects, sorted by what becomes of them."""

    last: str = ""
    objects: int = 0
    known: int = 0
    own: int = 0
    found: list[ImportCandidate] = field(default_factory=list)
    empty: list[EmptyFolder] = field(default_factory=list)
    refused: list[RejectedKey] = field(default_factory=list)


def plan_import(plan: Plan) -> Generator[Step]:
    """What an import would do, batch by batch. Nothing is written. Raises what `import_objects` raises."""
    _require_usable(plan)
    figures = ImportStats()
    for batch in _batches(plan, after=""):
        added = Added(len(batch.found), sum(one.size for one in batch.found))
        yield _step(figures, batch, added)


def import_objects(plan: Plan, *, writers: int = WRITERS) -> Generator[Step]:
    """Make files of the objects, batch by batch, several batches at once. No object is touched.

    Safe to repeat and to race: a key that has a file is left as it is. Goes on where a run of the same prefix was
    stopped. Raises ValidationFailed, WrongMarker, Forbidden, ListingOutOfOrder, StorageUnavailable.
    """
    _require_usable(plan)
    into = _folder(plan)
    report, is_first = _open(plan)
    try:
        yield from _write_all(plan, _Places(plan.owner, into, with_empty=is_first), report, writers)
    except BaseException:
        with suppress(DatabaseError):
            report.end(RunOutcome.STOPPED)
        raise


def _require_usable(plan: Plan) -> None:
    require_foreign(plan.prefix)
    require_marker()


def _folder(plan: Plan) -> Folder | None:
    answer = ensure([plan.folder], by=plan.owner, limited=False)[plan.folder]
    if isinstance(answer, Problem):
        raise answer
    return answer


def _open(plan: Plan) -> tuple[Report, bool]:
    """A report whose cursor is where the last run stopped, if it did; and whether none of this prefix came to its end.

    What still counts as running was killed; or it runs, and says otherwise when it ends.
    """
    earlier = Report.objects.filter(command=COMMAND, scope=plan.prefix, summary__bucket=settings.S3_BUCKET)
    last = earlier.first()
    unended = last is not None and last.outcome in {RunOutcome.RUNNING, RunOutcome.STOPPED}
    is_first = not earlier.filter(outcome__in=[RunOutcome.AGREED, RunOutcome.DIFFERENCES]).exists()
    earlier.filter(outcome=RunOutcome.RUNNING).update(outcome=RunOutcome.STOPPED)
    told = {"bucket": settings.S3_BUCKET, "owner": plan.owner.get_username(), "folder": plan.folder}
    cursor = last.cursor if last and unended else ""
    return Report.objects.create(command=COMMAND, scope=plan.prefix, cursor=cursor, summary=told), is_first


# --- what is there ------------------------------------------------------------------------------


def _batches(plan: Plan, *, after: str) -> Iterator[_Batch]:
    waiting: list[s3.Page] = []
    for page in _pages(plan.prefix, after):
        waiting.append(page)
        if sum(map(len, waiting)) >= BATCH_KEYS:
            yield _sorted(waiting, plan)
            waiting = []
    if waiting:
        yield _sorted(waiting, plan)


def _pages(prefix: str, after: str) -> Iterator[s3.Page]:
    """As the listing, but past what is Amalga's own it goes in one step: that may be millions."""
    while True:
        for page in s3.list_objects(prefix, after=after):
            yield page
            own = next((folder for folder in OWN_FOLDERS if page.keys[-1].startswith(folder)), None)
            if own and page.keys[-1] < own + BEHIND_HEX:
                after = own + BEHIND_HEX
                break
        else:
            return


def _sorted(pages: Sequence[s3.Page], plan: Plan) -> _Batch:
    prefix, depth = plan.prefix, len(list(filter(None, plan.folder.split("/"))))
    batch = _Batch(last=pages[-1].keys[-1])
    for page in pages:
        known = existing_keys(page.keys)
        batch.objects += len(page)
        for key, size, etag, modified in zip(page.keys, page.sizes, page.etags, page.modified, strict=True):
            if key in known:
                batch.known += 1
            elif is_own(key):
                batch.own += 1
            else:
                what = read_key(key, size, etag, modified, prefix=prefix, depth=depth)
                _sort(
                    batch,
                    what._replace(archived=True)
                    if isinstance(what, ImportCandidate) and key in page.archived
                    else what,
                )
    return batch


def _sort(batch: _Batch, what: ImportCandidate | EmptyFolder | RejectedKey) -> None:
    if isinstance(what, ImportCandidate):
        batch.found.append(what)
    elif isinstance(what, RejectedKey):
        batch.refused.append(what)
    else:
        batch.empty.append(what)


def _step(figures: ImportStats, batch: _Batch, added: Added) -> Step:
    figures.objects += batch.objects
    figures.files += added.files
    figures.bytes += added.bytes
    figures.known += batch.known
    figures.empty_folders += len(batch.empty)
    figures.own += batch.own
    figures.refused += len(batch.refused)
    figures.archived += sum(one.archived for one in batch.found)
    return Step(figures, batch.refused, batch.found[:3])


# --- what is written ----------------------------------------------------------------------------


class _Places:
    """The folders that files go to, made where they are missing; those of late are remembered.

    Folders that are empty in the bucket are made `with_empty`: by the first import alone, so that what people remove
    stays removed.
    """

    def __init__(self, owner: User, into: Folder | None, *, with_empty: bool) -> None:
        self._owner = owner
        self._into = into
        self._with_empty = with_empty
        self._known: dict[str, int | Problem | None] = {}

    def put(self, batch: _Batch) -> Mapping[str, int | None]:
        """The folder of each file of the batch; files that may not go where they belong become refused."""
        paths = {one.folder for one in batch.found}
        places = self._of(paths | {one.folder for one in batch.empty if self._with_empty})
        barred = {path: place.message for path, place in places.items() if isinstance(place, Problem)}
        if barred:
            batch.refused += [RejectedKey(one.key, barred[one.folder]) for one in batch.found if one.folder in barred]
            batch.found = [one for one in batch.found if one.folder not in barred]
        return {path: place for path, place in places.items() if not isinstance(place, Problem)}

    def _of(self, paths: set[str]) -> dict[str, int | Problem | None]:
        if len(self._known) > MAX_PLACES:
            self._known.clear()
        for path, answer in ensure(paths - self._known.keys(), by=self._owner, into=self._into, limited=False).items():
            self._known[path] = answer.pk if isinstance(answer, Folder) else answer
        return {path: self._known[path] for path in paths}


class _Writing(NamedTuple):
    batch: _Batch
    added: Future[tuple[Added, list[RejectedKey]]]


def _write_all(plan: Plan, places: _Places, report: Report, writers: int) -> Iterator[Step]:
    """Several batches are written while the next is read; they are noted in their order, so that all before the
    cursor is there."""
    figures, waiting, after = ImportStats(), deque[_Writing](), report.cursor
    yield Step(figures, [], [], after)
    with ThreadPoolExecutor(writers) as pool:
        for batch in _batches(plan, after=after):
            folders = places.put(batch)
            waiting.append(_Writing(batch, pool.submit(_write, batch.found, folders, plan)))
            if len(waiting) > writers:
                yield _note(waiting.popleft(), figures, report)._replace(after=after)
        while waiting:
            yield _note(waiting.popleft(), figures, report)._replace(after=after)
    report.cursor = ""
    report.end(RunOutcome.DIFFERENCES if figures.refused else RunOutcome.AGREED, **asdict(figures))
    logger.info("bucket_imported report=%s files=%s by=%s", report.pk, figures.files, plan.owner.pk)


def _note(writing: _Writing, figures: ImportStats, report: Report) -> Step:
    added, refused = writing.added.result()
    writing.batch.refused += refused
    writing.batch.known += len(writing.batch.found) - added.files - len(refused)  # another import was faster
    step = _step(figures, writing.batch, added)
    report.cursor, report.summary = writing.batch.last, report.summary | asdict(figures)
    Finding.objects.bulk_create(
        Finding(report=report, trouble=Trouble.FAILED, key=_tellable(one.key), detail={"why": one.why})
        for one in step.refused
    )
    Report.objects.filter(pk=report.pk).update(cursor=report.cursor, summary=report.summary)
    return step


def _write(
    found: Sequence[ImportCandidate], folders: Mapping[str, int | None], plan: Plan
) -> tuple[Added, list[RejectedKey]]:
    """In a thread, with a connection of its own."""
    try:
        return _add_or_part(found, folders, plan)
    finally:
        connection.close()


def _add_or_part(
    found: Sequence[ImportCandidate], folders: Mapping[str, int | None], plan: Plan
) -> tuple[Added, list[RejectedKey]]:
    """What one bad row stops is tried in halves, until that row is alone."""
    if not found:
        return Added(0, 0), []
    try:
        return add(found, folders, plan), []
    except (DataError, IntegrityError) as error:
        if len(found) == 1:
            logger.warning("import_row_refused code=%s", type(error).__name__)
            return Added(0, 0), [RejectedKey(found[0].key, "The database refuses it.")]
    half = len(found) // 2
    (one, some), (other, more) = (_add_or_part(part, folders, plan) for part in (found[:half], found[half:]))
    return Added(one.files + other.files, one.bytes + other.bytes), some + more


def _tellable(key: str) -> str:
    """What of an unusable key a row can hold."""
    return key.encode(errors="replace").decode().replace("\0", "\ufffd")[:1024]
