"""Make and remove the previews of files: the row first, then the object, then `ready`. Objects are deleted first."""

from __future__ import annotations

import functools
import logging
import operator
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from uploads import previews, s3
from uploads.errors import ObjectRefused
from uploads.failpoints import failpoint
from uploads.models import Category, File, Preview, PreviewKind, PreviewState, Refusal, State
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.parts import digest_of
from uploads.services.stored_objects import fetch_encoding, save_refusal

logger = logging.getLogger(__name__)

# Longer than the work between two checks of the lease: fetching a file, half a minute of rendering, and four attempts
# with longer timeouts to store a picture.
LEASE_SECONDS = 600
# After a preview that was too hard, the owner's others get SHORT_SECONDS each, for HARD_WITHIN_SECONDS.
SHORT_SECONDS = 5.0
SHORT_FRACTION = 1 / 6  # of what takes longer than others anyway
HARD_WITHIN_SECONDS = 3600
TEMP_PREFIX = "amalga-preview-"
# Stored with the row, and shown in the reader's language.
REASONS = {
    "too_large": gettext_noop("The file is too large for a preview."),
    "corrupted": gettext_noop("The file is corrupted, or its contents don't match its type."),
    "unsupported": gettext_noop("This image format isn't supported."),
    "unreadable": gettext_noop("It may be corrupted, password-protected, or in a variant that can't be converted."),
    "not_installed": gettext_noop("Previews of this type of file aren't set up on this server."),
    "locked": gettext_noop("The file is password-protected."),
    "too_hard": gettext_noop("The file takes too much time or memory to display."),
    "missing": gettext_noop("The file is missing from storage."),
    # the values of models.Refusal
    "archived": gettext_noop("The file is archived and must be restored first."),
    "encrypted": gettext_noop("The file is encrypted with a key that isn't available."),
    "denied": gettext_noop("Storage denied access to the file."),
}
# Documents whose pages have previews.
IS_DOCUMENT = Q(detected_type__in=previews.DOCUMENTS) | Q(detected_type="", declared_type__in=previews.DOCUMENTS)
# First pages of documents that have more, or of which an earlier version did not count them.
HAS_PAGES = Q(Q(page_count=None) | Q(page_count__gt=1), state=PreviewState.READY)
# Media types that are rendered, by category. PDFs all are; of texts there is an excerpt.
RENDERED = {
    Category.IMAGE.value: set(previews.PICTURES),
    Category.VIDEO.value: previews.VIDEOS,
    Category.DOCUMENT.value: set(previews.OFFICE),
}
CAN_HAVE_PREVIEW = Q(category__in=[Category.TEXT, Category.PDF]) | functools.reduce(
    operator.or_,
    (
        Q(Q(detected_type__in=types) | Q(detected_type="", declared_type__in=types), category=category)
        for category, types in RENDERED.items()
    ),
)


def kinds_for(category: str, media_type: str, *, size: int) -> list[PreviewKind]:
    """Return the kinds of preview for such a file, by its media type and category. Empty for most files."""
    if not size:
        return []
    if category == Category.TEXT:
        return [PreviewKind.EXCERPT]
    is_rendered = category == Category.PDF or media_type in RENDERED.get(category, ())
    return [PreviewKind.THUMBNAIL, PreviewKind.PICTURE] if is_rendered else []


def make_previews(file: File) -> bool:
    """Make the missing previews of the file, unless another worker has the lease. Returns whether any were made.

    Safe to repeat and to race. If the file cannot be rendered, or the storage refuses this one object, the reason is
    saved. Raises StorageUnavailable; then the rows stay, to be retried.
    """
    refused = None
    try:
        fetch_encoding(file)  # a compressed object is neither a text nor a picture
    except ObjectRefused as fault:
        refused = fault
    leased = _acquire(file, kinds_for(file.category, file.type, size=file.size))
    if not leased:
        return False
    failpoint("preview.2-leased")
    with _released_after_errors(file, leased):
        if refused:
            raise refused
        with _rendered(file) as pictures:
            failpoint("preview.3-drawn")
            _add_second_page(file, pictures)
            for preview in leased:
                _store(preview, pictures[PreviewKind(preview.kind)])
        if file.refusal != Refusal.ARCHIVED:  # a temporarily restored object stays archived
            save_refusal(file, "")
    logger.info("preview_created file=%s", file.pk)
    return True


def make_pages(file: File) -> bool:
    """Make the missing previews of the pages after the first of a document. Returns whether any were missing.

    It has the same guarantees as `make_previews`. The row of the second page is the lease until the others have rows.
    """
    pictures = Preview.objects.filter(file=file, kind=PreviewKind.PICTURE)
    is_document = file.type in previews.DOCUMENTS
    has_pages = is_document and pictures.filter(HAS_PAGES).exists()
    leased = _acquire(file, [PreviewKind.PAGE], pages=[2] if has_pages else [])
    if not leased:
        return False
    with _released_after_errors(file, leased):
        if not is_document:  # a new version of Amalga detects another type
            raise previews.PreviewFailed("corrupted")
        with _fetched(file) as (copy, output):
            pages = previews.render_pages(copy, file.type, output, seconds=_seconds_for(file))
            failpoint("pages.1-drawn")
            leased += _acquire(file, [PreviewKind.PAGE], pages=range(2, min(pages.count, previews.MAX_PAGES) + 1))
            pictures.update(page_count=pages.count)
            failpoint("pages.2-counted")
            for preview in leased:
                _store_page(preview, pages)
        logger.info("preview_created file=%s pages=%s", file.pk, pages.count)
    return True


def documents_without_pages() -> FileQuerySet:
    """Return the documents of which only the first page was made, or whose pages are to be made again."""
    pages = Preview.objects.filter(file=OuterRef("pk"), kind=PreviewKind.PAGE)
    picture = Preview.objects.filter(HAS_PAGES, file=OuterRef("pk"), kind=PreviewKind.PICTURE)
    is_waiting = Exists(pages.filter(state=PreviewState.PENDING, lease_until__lte=Now()))
    documents = File.objects.available().filter(IS_DOCUMENT, size__gt=0, quarantined=False)
    return documents.filter(Q(Exists(picture), ~Exists(pages)) | Q(is_waiting))


def clear_scratch() -> None:
    """Delete the temporary folders of killed workers on this machine. Safe to run beside other workers."""
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMP_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > LEASE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def reset_failed() -> None:
    """Delete failed previews, so that they are tried again. Raises StorageUnavailable; safe to repeat.

    Those of pages become pending instead, because their file is known to have them.
    """
    failed = Preview.objects.filter(state=PreviewState.FAILED)
    failed.filter(kind=PreviewKind.PAGE).update(state=PreviewState.PENDING, reason="", lease_until=Now())
    for preview in failed.exclude(kind=PreviewKind.PAGE).iterator():
        s3.delete(preview.key, store=preview.store)  # an earlier try may have stored it
        preview.delete()


def reset_refused(ids: Iterable[UUID]) -> list[UUID]:
    """Reset previews of these files that the storage refused, and return the ids of their files. Safe to repeat."""
    refused = Preview.objects.filter(
        file__in=list(ids), state=PreviewState.FAILED, reason__in=[REASONS[refusal] for refusal in Refusal.values]
    )
    files = list(refused.values_list("file", flat=True).distinct())
    refused.update(state=PreviewState.PENDING, reason="", lease_until=Now())
    return files


def _acquire(file: File, kinds: list[PreviewKind], *, pages: Iterable[int] = (1,)) -> list[Preview]:
    """Create the rows of these pages, and lease all of these kinds that no other worker has leased; only while the
    file is available."""
    with transaction.atomic():
        if not kinds or not _create_rows(file, kinds, pages):
            return []
        unleased = Preview.objects.filter(file=file, kind__in=kinds, state=PreviewState.PENDING, lease_until__lte=Now())
        leased = list(unleased.order_by("page").select_for_update())
        _pending(leased).update(lease_until=seconds_from_now(LEASE_SECONDS))
        failpoint("preview.1-leasing")
    return leased


def _create_rows(file: File, kinds: list[PreviewKind], pages: Iterable[int]) -> bool:
    """Create missing rows in the caller's transaction. Return False if the file is no longer available."""
    if not File.objects.filter(pk=file.pk, state=State.AVAILABLE).select_for_update(no_key=True):
        return False
    now = seconds_from_now(0)
    rows = [Preview(file=file, kind=kind, page=page, lease_until=now) for kind, page in product(kinds, pages)]
    Preview.objects.bulk_create(rows, ignore_conflicts=True)
    return True


def _add_second_page(file: File, pictures: Mapping[PreviewKind, previews.Picture]) -> None:
    """Create the row of a document's second page, before its picture is ready, so that its pages are made later."""
    picture = pictures.get(PreviewKind.PICTURE)
    if picture and (picture.page_count or 1) > 1:
        with transaction.atomic():
            _create_rows(file, [PreviewKind.PAGE], [2])


@contextmanager
def _released_after_errors(file: File, leased: list[Preview]) -> Iterator[None]:
    """Save why the leased previews cannot be made. After other errors, as of the storage, they are released."""
    try:
        yield
    except previews.PreviewFailed as problem:
        _fail(leased, problem.reason)
    except ObjectRefused as fault:
        save_refusal(file, fault.reason)
        _fail(leased, fault.reason)
    except BaseException:
        _pending(leased).update(lease_until=Now())
        raise


@contextmanager
def _rendered(file: File) -> Iterator[Mapping[PreviewKind, previews.Picture]]:
    """Render the file, and yield its pictures. Raises PreviewFailed, StorageUnavailable."""
    if file.category == Category.TEXT:
        beginning = s3.read_start(file.key, max_bytes=previews.EXCERPT_BYTES, store=file.store)
        if beginning is None:
            raise previews.PreviewFailed("missing")
        yield {PreviewKind.EXCERPT: previews.Picture(previews.excerpt_of(beginning), 0, 0)}
        return
    with _fetched(file) as (copy, output):
        pictures = previews.render(copy, file.type, output, seconds=_seconds_for(file))
        yield {PreviewKind(kind): picture for kind, picture in pictures.items()}


@contextmanager
def _fetched(file: File) -> Iterator[tuple[Path, Path]]:
    """Yield a copy of the file and an empty folder. Raises PreviewFailed, StorageUnavailable."""
    if not previews.is_renderable(file.type):
        raise previews.PreviewFailed("not_installed")
    if file.size > previews.max_source_bytes(file.type):
        raise previews.PreviewFailed("too_large")
    with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX) as folder:
        output = Path(folder) / "drawn"
        output.mkdir()
        yield fetch(file, Path(folder) / "file"), output


def _seconds_for(file: File) -> float:
    """Return the time limit for rendering this file: shorter if the owner recently had a file that was too hard, so
    that a series of such files does not delay everyone else's previews. Pages do not count: they are made last."""
    too_hard = Preview.objects.filter(
        file__owner=file.owner_id, state=PreviewState.FAILED, reason=REASONS["too_hard"],
        updated_at__gt=seconds_from_now(-HARD_WITHIN_SECONDS),
    ).exclude(kind=PreviewKind.PAGE)  # fmt: skip
    seconds = previews.wait_seconds(file.type)
    return max(SHORT_SECONDS, seconds * SHORT_FRACTION) if too_hard.exists() else seconds


def fetch(file: File, path: Path) -> Path:
    """Copy the object of a file to `path`. Raises PreviewFailed if it is missing or larger than its row says."""
    chunks = s3.read(file.key, store=file.store)
    if chunks is None:
        raise previews.PreviewFailed("missing")
    remaining = file.size
    with path.open("wb") as copy:
        for chunk in chunks:
            remaining -= len(chunk)
            if remaining < 0:
                raise previews.PreviewFailed("corrupted")
            copy.write(chunk)
    return path


def _store(preview: Preview, picture: previews.Picture) -> None:
    """Store the object, then set `ready`. After losing the lease nothing is stored, or the object is deleted again."""
    rows = Preview.objects.filter(pk=preview.pk, state=PreviewState.PENDING)
    if not rows.filter(lease_until__gt=Now()).update(lease_until=seconds_from_now(LEASE_SECONDS)):
        return
    digest = digest_of(picture.body)
    s3.put(preview.key, picture.body, sha256=digest, store=preview.store)
    failpoint("preview.4-stored")
    original_width, original_height = picture.original or (None, None)
    fields = {
        "size": len(picture.body), "width": picture.width, "height": picture.height, "page_count": picture.page_count,
        "original_width": original_width, "original_height": original_height,
    }  # fmt: skip
    updated = rows.update(state=PreviewState.READY, updated_at=Now(), lease_until=Now(), **fields)
    failpoint("preview.5-ready")
    if not updated and not Preview.objects.filter(pk=preview.pk).exists():
        s3.delete(preview.key, store=preview.store)


def _store_page(preview: Preview, pages: previews.Pages) -> None:
    """Store one page, or save why it could not be drawn. The row of a page that does not exist is deleted."""
    if preview.page > pages.count:
        s3.delete(preview.key, store=preview.store)
        _pending([preview]).delete()
        return
    try:
        _store(preview, pages.read(preview.page))
    except previews.PreviewFailed as problem:
        _fail([preview], problem.reason)


def _fail(leased: Iterable[Preview], reason: str) -> None:
    _pending(leased).update(state=PreviewState.FAILED, reason=REASONS[reason], updated_at=Now())
    for preview in leased:
        logger.info(
            "preview_failed file=%s kind=%s page=%s reason=%s", preview.file_id, preview.kind, preview.page, reason
        )


def _pending(leased: Iterable[Preview]) -> models.QuerySet[Preview]:
    return Preview.objects.filter(pk__in=[preview.pk for preview in leased], state=PreviewState.PENDING)
