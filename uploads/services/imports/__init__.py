"""Import the objects that a bucket already has as files, without copying a byte."""

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
from uploads.keys import OWN_PREFIXES
from uploads.models import Finding, FindingKind, Folder, Report, RunOutcome
from uploads.services.bucket_guard import require_marker
from uploads.services.folders import ensure
from uploads.services.imports.copy_rows import ImportedTotals, ImportOptions, add_files, existing_keys
from uploads.services.imports.key_mapping import (
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
MAX_CACHED_FOLDERS = 10_000  # paths
AFTER_HEX = "~"  # sorts after all hexadecimal digits, and so after all of our own keys


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan(ImportOptions):
    """What to import, and how: `folder` is the clean path of the folder for all files."""

    folder: str = ""


@dataclass(slots=True)
class ImportStats:
    """Counts of the objects so far; in a dry run, what an import would do."""

    objects: int = 0
    files: int = 0
    bytes: int = 0
    known: int = 0  # already have a file
    empty_folders: int = 0
    own: int = 0  # Amalga's
    refused: int = 0
    archived: int = 0  # of `files`


class ImportProgress(NamedTuple):
    """The progress after a batch: all counts so far, and the batch's rejected keys and a few examples.

    `after` is the key that a resumed import began after.
    """

    stats: ImportStats
    refused: Sequence[RejectedKey]
    examples: Sequence[ImportCandidate]
    after: str = ""


@dataclass(slots=True)
class _Batch:
    """Consecutive objects, sorted by what they become."""

    last: str = ""
    objects: int = 0
    known: int = 0
    own: int = 0
    candidates: list[ImportCandidate] = field(default_factory=list)
    empty: list[EmptyFolder] = field(default_factory=list)
    refused: list[RejectedKey] = field(default_factory=list)


def plan_import(plan: ImportPlan) -> Generator[ImportProgress]:
    """Yield what an import would do, batch by batch, without writing. Raises what `import_objects` raises."""
    _require_usable(plan)
    stats = ImportStats()
    for batch in _batches(plan, after=""):
        added = ImportedTotals(len(batch.candidates), sum(candidate.size for candidate in batch.candidates))
        yield _step(stats, batch, added)


def import_objects(plan: ImportPlan, *, writers: int = WRITERS) -> Generator[ImportProgress]:
    """Add files for the objects, several batches at once. Objects do not change.

    Safe to repeat and to run concurrently: keys that have a file are skipped. Resumes a run of the same prefix that
    was stopped. Raises ValidationFailed, WrongMarker, Forbidden, ListingOutOfOrder, StorageUnavailable.
    """
    _require_usable(plan)
    parent = _folder(plan)
    report, is_first = _open_report(plan)
    try:
        yield from _write_all(plan, _FolderCache(plan.owner, parent, with_empty=is_first), report, writers)
    except BaseException:
        with suppress(DatabaseError):
            report.end(RunOutcome.STOPPED)
        raise


def _require_usable(plan: ImportPlan) -> None:
    require_foreign(plan.prefix)
    require_marker()


def _folder(plan: ImportPlan) -> Folder | None:
    result = ensure([plan.folder], by=plan.owner, limited=False)[plan.folder]
    if isinstance(result, Problem):
        raise result
    return result


def _open_report(plan: ImportPlan) -> tuple[Report, bool]:
    """Create a report with the cursor of the last run, if it was stopped, and return whether none has completed yet.

    Other "running" reports are set to stopped: their runs were killed, or will overwrite the outcome when they end.
    """
    earlier = Report.objects.filter(command=COMMAND, scope=plan.prefix, summary__bucket=settings.S3_BUCKET)
    previous = earlier.first()
    is_unfinished = previous is not None and previous.outcome in {RunOutcome.RUNNING, RunOutcome.STOPPED}
    is_first = not earlier.filter(outcome__in=[RunOutcome.SUCCEEDED, RunOutcome.DIFFERENCES]).exists()
    earlier.filter(outcome=RunOutcome.RUNNING).update(outcome=RunOutcome.STOPPED)
    summary = {"bucket": settings.S3_BUCKET, "owner": plan.owner.get_username(), "folder": plan.folder}
    cursor = previous.cursor if previous and is_unfinished else ""
    return Report.objects.create(command=COMMAND, scope=plan.prefix, cursor=cursor, summary=summary), is_first


# --- reading the bucket -------------------------------------------------------------------------


def _batches(plan: ImportPlan, *, after: str) -> Iterator[_Batch]:
    pages: list[s3.ListingPage] = []
    for page in _pages(plan.prefix, after):
        pages.append(page)
        if sum(map(len, pages)) >= BATCH_KEYS:
            yield _sort_into_batch(pages, plan)
            pages = []
    if pages:
        yield _sort_into_batch(pages, plan)


def _pages(prefix: str, after: str) -> Iterator[s3.ListingPage]:
    """Yield pages of the listing, but skip Amalga's own prefixes, which can have millions of objects."""
    while True:
        for page in s3.list_objects(prefix, after=after):
            yield page
            own_folder = next((folder for folder in OWN_PREFIXES if page.keys[-1].startswith(folder)), None)
            if own_folder and page.keys[-1] < own_folder + AFTER_HEX:
                after = own_folder + AFTER_HEX
                break
        else:
            return


def _sort_into_batch(pages: Sequence[s3.ListingPage], plan: ImportPlan) -> _Batch:
    prefix, depth = plan.prefix, len(list(filter(None, plan.folder.split("/"))))
    batch = _Batch(last=pages[-1].keys[-1])
    for page in pages:
        existing = existing_keys(page.keys)
        batch.objects += len(page)
        for key, size, etag, modified in zip(page.keys, page.sizes, page.etags, page.modified, strict=True):
            if key in existing:
                batch.known += 1
            elif is_own(key):
                batch.own += 1
            else:
                result = read_key(key, size, etag, modified, prefix=prefix, depth=depth)
                _add_to_batch(
                    batch,
                    result._replace(archived=True)
                    if isinstance(result, ImportCandidate) and key in page.archived
                    else result,
                )
    return batch


def _add_to_batch(batch: _Batch, result: ImportCandidate | EmptyFolder | RejectedKey) -> None:
    if isinstance(result, ImportCandidate):
        batch.candidates.append(result)
    elif isinstance(result, RejectedKey):
        batch.refused.append(result)
    else:
        batch.empty.append(result)


def _step(stats: ImportStats, batch: _Batch, added: ImportedTotals) -> ImportProgress:
    stats.objects += batch.objects
    stats.files += added.files
    stats.bytes += added.bytes
    stats.known += batch.known
    stats.empty_folders += len(batch.empty)
    stats.own += batch.own
    stats.refused += len(batch.refused)
    stats.archived += sum(candidate.archived for candidate in batch.candidates)
    return ImportProgress(stats, batch.refused, batch.candidates[:3])


# --- writing rows -------------------------------------------------------------------------------


class _FolderCache:
    """Creates the folders of files where they are missing, and caches their IDs.

    Empty folders are only created `with_empty`: by the first import, so that folders that people delete later stay
    deleted.
    """

    def __init__(self, owner: User, parent: Folder | None, *, with_empty: bool) -> None:
        self._owner = owner
        self._parent = parent
        self._with_empty = with_empty
        self._cache: dict[str, int | Problem | None] = {}

    def folders_for(self, batch: _Batch) -> Mapping[str, int | None]:
        """Return the folder ID of each path of the batch. Files whose folder cannot be created are rejected."""
        paths = {item.folder for item in batch.candidates}
        folders = self._resolve(paths | {item.folder for item in batch.empty if self._with_empty})
        errors = {path: folder.message for path, folder in folders.items() if isinstance(folder, Problem)}
        if errors:
            batch.refused += [
                RejectedKey(item.key, errors[item.folder]) for item in batch.candidates if item.folder in errors
            ]
            batch.candidates = [item for item in batch.candidates if item.folder not in errors]
        return {path: folder for path, folder in folders.items() if not isinstance(folder, Problem)}

    def _resolve(self, paths: set[str]) -> dict[str, int | Problem | None]:
        if len(self._cache) > MAX_CACHED_FOLDERS:
            self._cache.clear()
        for path, result in ensure(
            paths - self._cache.keys(), by=self._owner, into=self._parent, limited=False
        ).items():
            self._cache[path] = result.pk if isinstance(result, Folder) else result
        return {path: self._cache[path] for path in paths}


class _PendingBatch(NamedTuple):
    batch: _Batch
    result: Future[tuple[ImportedTotals, list[RejectedKey]]]


def _write_all(plan: ImportPlan, folder_cache: _FolderCache, report: Report, writers: int) -> Iterator[ImportProgress]:
    """Write several batches while the next is read.

    Results are recorded in the order of the batches, so that everything before the cursor is written.
    """
    stats, pending, after = ImportStats(), deque[_PendingBatch](), report.cursor
    yield ImportProgress(stats, [], [], after)
    with ThreadPoolExecutor(writers) as pool:
        for batch in _batches(plan, after=after):
            folders = folder_cache.folders_for(batch)
            pending.append(_PendingBatch(batch, pool.submit(_write, batch.candidates, folders, plan)))
            if len(pending) > writers:
                yield _note(pending.popleft(), stats, report)._replace(after=after)
        while pending:
            yield _note(pending.popleft(), stats, report)._replace(after=after)
    report.cursor = ""
    report.end(RunOutcome.DIFFERENCES if stats.refused else RunOutcome.SUCCEEDED, **asdict(stats))
    logger.info("bucket_imported report=%s files=%s by=%s", report.pk, stats.files, plan.owner.pk)


def _note(pending: _PendingBatch, stats: ImportStats, report: Report) -> ImportProgress:
    added, refused = pending.result.result()
    pending.batch.refused += refused
    pending.batch.known += len(pending.batch.candidates) - added.files - len(refused)  # another import was faster
    step = _step(stats, pending.batch, added)
    report.cursor, report.summary = pending.batch.last, report.summary | asdict(stats)
    Finding.objects.bulk_create(
        Finding(report=report, kind=FindingKind.FAILED, key=_storable(rejected.key), detail={"reason": rejected.reason})
        for rejected in step.refused
    )
    Report.objects.filter(pk=report.pk).update(cursor=report.cursor, summary=report.summary)
    return step


def _write(
    candidates: Sequence[ImportCandidate], folders: Mapping[str, int | None], plan: ImportPlan
) -> tuple[ImportedTotals, list[RejectedKey]]:
    """Write a batch in a thread, with its own connection."""
    try:
        return _add_or_split(candidates, folders, plan)
    finally:
        connection.close()


def _add_or_split(
    candidates: Sequence[ImportCandidate], folders: Mapping[str, int | None], plan: ImportPlan
) -> tuple[ImportedTotals, list[RejectedKey]]:
    """Add the files. If a bad row makes the batch fail, retry its halves until that row is alone."""
    if not candidates:
        return ImportedTotals(0, 0), []
    try:
        return add_files(candidates, folders, plan), []
    except (DataError, IntegrityError) as error:
        if len(candidates) == 1:
            logger.warning("import_row_rejected code=%s", type(error).__name__)
            return ImportedTotals(0, 0), [RejectedKey(candidates[0].key, "The database rejected it.")]
    half = len(candidates) // 2
    (first, first_rejected), (second, second_rejected) = (
        _add_or_split(part, folders, plan) for part in (candidates[:half], candidates[half:])
    )
    return ImportedTotals(first.files + second.files, first.bytes + second.bytes), first_rejected + second_rejected


def _storable(key: str) -> str:
    """Return an unusable key in a form that a row can store."""
    return key.encode(errors="replace").decode().replace("\0", "\ufffd")[:1024]
