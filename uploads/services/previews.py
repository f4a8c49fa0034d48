"""Make and remove the previews of files. Row first, then the object, then `ready`; the object goes before its row."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from uploads import previews, s3
from uploads.errors import ObjectRefused
from uploads.failpoints import failpoint
from uploads.models import Category, File, Preview, PreviewKind, PreviewState, Refusal, State
from uploads.models.querysets import seconds_from_now
from uploads.parts import encode_digest
from uploads.services.content_encoding import learn_encoding
from uploads.services.refusals import keep_refusal

logger = logging.getLogger(__name__)

# Longer than everything between two looks at the lease can take: fetching a file, half a minute of drawing, and
# four patient tries to store a picture.
LEASE_SECONDS = 600
# After a preview that was too hard, the owner's others get this much time each, for so long.
SHORT_SECONDS = 5.0
HARD_WITHIN_SECONDS = 3600
SCRATCH = "amalga-preview-"
# Kept with the row, shown to people in their language.
REASONS = {
    "too_large": gettext_noop("It is too large for a preview."),
    "damaged": gettext_noop("It is damaged or not what it says it is."),
    "unsupported": gettext_noop("Previews cannot show this kind of picture."),
    "locked": gettext_noop("It is protected by a password."),
    "too_hard": gettext_noop("It takes too much time or memory to show."),
    "gone": gettext_noop("Its bytes are not in the store."),
    # of models.Refusal
    "archived": gettext_noop("It is archived: the storage must restore it first."),
    "encrypted": gettext_noop("It is encrypted with a key that Amalga cannot use."),
    "denied": gettext_noop("The storage denies access to it."),
}
MAY_BE_SHOWN = Q(family__in=[Category.TEXT, Category.PDF]) | Q(
    Q(detected_type__in=previews.PICTURES) | Q(detected_type="", claimed_type__in=previews.PICTURES),
    family=Category.IMAGE,
)


def kinds_for(family: str, media_type: str, *, size: int) -> list[PreviewKind]:
    """Which previews such a file has: by what its bytes are, as far as that was told. None for most files."""
    if not size:
        return []
    if family == Category.TEXT:
        return [PreviewKind.EXCERPT]
    drawn = family == Category.PDF or (family == Category.IMAGE and media_type in previews.PICTURES)
    return [PreviewKind.THUMBNAIL, PreviewKind.PICTURE] if drawn else []


def make_previews(file: File) -> bool:
    """Make what previews the file has, unless they are there, or somebody makes them now. Whether any were made.

    Safe to repeat and to race. A file that cannot be shown keeps that as an answer. Raises StorageUnavailable:
    then nothing is kept but the wish, to be tried again. That the store refuses this one object is an answer.
    """
    refused = ""
    try:
        learn_encoding(file)  # what is stored compressed is no text and no picture
    except ObjectRefused as fault:
        refused = fault.reason
    begun = _begin(file, kinds_for(file.family, file.type, size=file.size))
    if not begun:
        return False
    failpoint("preview.2-leased")
    try:
        if not refused:
            with _made(file) as made:
                failpoint("preview.3-drawn")
                for look, preview in begun.items():
                    _store(preview, made[look])
            if file.refusal != Refusal.ARCHIVED:  # what is restored for a while stays archived
                keep_refusal(file, "")
    except previews.PreviewFailed as problem:
        _fail(begun, problem.why)
    except ObjectRefused as fault:
        refused = fault.reason
    except BaseException:
        _open(begun).update(lease_until=Now())
        raise
    if refused:
        keep_refusal(file, refused)
        _fail(begun, refused)
    logger.info("preview_made file=%s", file.pk)
    return True


def clear_scratch() -> None:
    """Remove the copies of files that a killed worker left on this machine. Safe to run beside others."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > LEASE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def forget_failed() -> None:
    """Let files be tried again that could not be shown. Raises StorageUnavailable; safe to repeat."""
    for preview in Preview.objects.filter(state=PreviewState.FAILED).iterator():
        s3.delete(preview.key, store=preview.store)  # an earlier try may have come as far as this
        preview.delete()


def forget_refused(ids: Iterable[UUID]) -> list[UUID]:
    """Let those of these files be tried again that the store refused. Which these are; safe to repeat."""
    refused = Preview.objects.filter(
        file__in=list(ids), state=PreviewState.FAILED, reason__in=[REASONS[refusal] for refusal in Refusal.values]
    )
    files = list(refused.values_list("file", flat=True).distinct())
    refused.update(state=PreviewState.MAKING, reason="", lease_until=Now())
    return files


def _begin(file: File, looks: list[PreviewKind]) -> dict[PreviewKind, Preview]:
    """The rows of what is ours to make, each with a lease; only while the file is available."""
    with transaction.atomic():
        if not looks or not File.objects.filter(pk=file.pk, state=State.AVAILABLE).select_for_update(no_key=True):
            return {}
        rows = [Preview(file=file, look=look, lease_until=seconds_from_now(0)) for look in looks]
        Preview.objects.bulk_create(rows, ignore_conflicts=True)
        free = Preview.objects.filter(file=file, look__in=looks, state=PreviewState.MAKING, lease_until__lte=Now())
        mine = {PreviewKind(preview.look): preview for preview in free.select_for_update()}
        _open(mine).update(lease_until=seconds_from_now(LEASE_SECONDS))
        failpoint("preview.1-leasing")
    return mine


@contextmanager
def _made(file: File) -> Iterator[Mapping[PreviewKind, previews.Picture]]:
    """What the file looks like. Raises Unshowable, StorageUnavailable."""
    if file.family == Category.TEXT:
        beginning = s3.read_start(file.key, max_bytes=previews.EXCERPT_BYTES, store=file.store)
        if beginning is None:
            raise previews.PreviewFailed("gone")
        yield {PreviewKind.EXCERPT: previews.Picture(previews.excerpt_of(beginning), 0, 0)}
        return
    if file.size > previews.max_source_bytes(file.type):
        raise previews.PreviewFailed("too_large")
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as folder:
        drawn = Path(folder) / "drawn"
        drawn.mkdir()
        found = previews.render(_fetch(file, Path(folder) / "file"), file.type, drawn, seconds=_seconds_for(file))
        yield {PreviewKind(look): picture for look, picture in found.items()}


def _seconds_for(file: File) -> float:
    """How long the drawing of this file may take: less for the owner of one that was too hard a while ago, so that
    a series of such files does not keep the worker from everybody else's."""
    hard = Preview.objects.filter(
        file__owner=file.owner_id, state=PreviewState.FAILED, reason=REASONS["too_hard"],
        made_at__gt=seconds_from_now(-HARD_WITHIN_SECONDS),
    )  # fmt: skip
    return SHORT_SECONDS if hard.exists() else previews.WAIT_SECONDS


def _fetch(file: File, path: Path) -> Path:
    chunks = s3.read(file.key, store=file.store)
    if chunks is None:
        raise previews.PreviewFailed("gone")
    left = file.size
    with path.open("wb") as copy:
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise previews.PreviewFailed("damaged")
            copy.write(chunk)
    return path


def _store(preview: Preview, picture: previews.Picture) -> None:
    """The object, then `ready`. Whoever lost the lease meanwhile stores nothing, or takes it away again."""
    mine = Preview.objects.filter(pk=preview.pk, state=PreviewState.MAKING)
    if not mine.filter(lease_until__gt=Now()).update(lease_until=seconds_from_now(LEASE_SECONDS)):
        return
    digest = encode_digest(hashlib.sha256(picture.body).digest())
    s3.put(preview.key, picture.body, sha256=digest, store=preview.store)
    failpoint("preview.4-stored")
    facts = {"size": len(picture.body), "width": picture.width, "height": picture.height}
    ready = mine.update(state=PreviewState.READY, made_at=Now(), lease_until=Now(), **facts)
    failpoint("preview.5-ready")
    if not ready and not Preview.objects.filter(pk=preview.pk).exists():
        s3.delete(preview.key, store=preview.store)


def _fail(begun: Mapping[PreviewKind, Preview], why: str) -> None:
    _open(begun).update(state=PreviewState.FAILED, reason=REASONS[why], made_at=Now())
    for preview in begun.values():
        logger.info("preview_failed file=%s look=%s why=%s", preview.file_id, preview.look, why)


def _open(begun: Mapping[PreviewKind, Preview]) -> models.QuerySet[Preview]:
    return Preview.objects.filter(pk__in=[preview.pk for preview in begun.values()], state=PreviewState.MAKING)
