"""Stream many files as one zip of a known length, with their bytes as the storage sends them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Self
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from uploads.content_headers import stored_name
from uploads.errors import Forbidden, ObjectRefused, Problem, StorageUnavailable, ValidationFailed
from uploads.models import ChecksumStatus, File, Folder, Origin, State
from uploads.models.querysets import FileQuerySet
from uploads.services.downloads import record_zip, require_deliverable, require_readable
from uploads.services.slow_clients import GUEST_ZIPS, ZIPS, LowestRate, Slot, TooSlow
from uploads.services.stored_objects import FilesRefused, Place, fetch_encodings, quote_names, save_refusal
from uploads.services.zips.archive import MANIFEST, Member, length_of, paths_of, write
from uploads.services.zips.prefetch import MemberSource, Reader

logger = logging.getLogger(__name__)

Recorder = Callable[[Iterable[File]], None]
Accessible = Callable[[FileQuerySet, User], FileQuerySet]

MAX_FILES = 10_000
HEX_BYTES = 64
COLUMNS = (
    "id", "series", "key", "store", "origin", "content_encoding", "name", "folder_id", "size", "part_size", "checksum",
    "etag", "checksum_status", "modified", "available_at", "refusal", "scan_status", "quarantined",
)  # fmt: skip


class FilesNotFound(Problem):
    code = "not_found"
    status_code = 404

    def __init__(self, missing: int) -> None:
        text = ngettext(
            "%(count)s of the selected files no longer exists or isn't available to you. Select the files again.",
            "%(count)s of the selected files no longer exist or aren't available to you. Select the files again.",
            missing,
        )
        super().__init__(text % {"count": missing})


class ContentLost(Problem):
    code = "bytes_missing"
    status_code = 410

    def __init__(self, names: Sequence[str]) -> None:
        text = ngettext(
            "%(names)s is missing from storage. Select the files again without it, and tell an administrator.",
            "%(names)s are missing from storage. Select the files again without them, and tell an administrator.",
            len(names),
        )
        super().__init__(text % {"names": quote_names(names)})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A zip to be sent: its `length` in bytes, and its members, of which the last is the manifest."""

    name: str
    files: list[MemberSource]
    members: list[Member]
    length: int


def bundle(user: User, file_ids: Sequence[UUID], *, folders: Collection[int] = ()) -> Bundle:
    """Return the zip of these files, and of what the user sees in these folders, with their subfolders.

    Raises ValidationFailed for no files and for more than ten thousand, FilesNotFound if the user cannot see one of
    the files or folders, Quarantined, and ContentLost if one is known to be missing: no file is left out silently.
    """
    requested = list(dict.fromkeys(file_ids))
    if len(requested) > MAX_FILES or not (requested or folders):
        raise ValidationFailed(_("Select between 1 and %(most)s files.") % {"most": f"{MAX_FILES:,}"})
    visible = File.objects.listed_for(user)
    files = _members(visible.by_permanent_ids(requested)) if requested else []
    if len(files) != len(requested):
        raise FilesNotFound(len(requested) - len(files))
    selected = list(Folder.objects.visible_to(user).filter(pk__in=folders))
    if len(selected) != len(folders):
        raise FilesNotFound(len(folders) - len(selected))
    files = _with_inside(files, visible, selected)
    # paths begin at the selected folders; at what is inside, if one folder is all that is selected
    top = {folder.parent_id for folder in selected} if requested or len(selected) > 1 else set(folders)
    common, folder_paths = _folder_paths(user, {file.folder_id for file in files} | top)
    return _bundle(common or _("files"), files, folder_paths)


class NoFiles(ValidationFailed):
    """There is nothing to download in the selected folders."""


def _with_inside(files: list[MemberSource], visible: FileQuerySet, folders: list[Folder]) -> list[MemberSource]:
    """Return the files, and those in the folders. Raises NoFiles, and ValidationFailed for more than ten thousand."""
    if not folders:
        return files
    by_id = {file.id: file for file in [*files, *_members(visible.below_any(folders))]}
    if not by_id:
        raise NoFiles(_("The selected folders contain no files."))
    _require_size(len(by_id))
    return list(by_id.values())


def _require_size(count: int) -> None:
    if count > MAX_FILES:
        raise ValidationFailed(_("A ZIP can contain at most %(max)s files.") % {"max": f"{MAX_FILES:,}"})


def bundle_shared(rows: FileQuerySet, *, name: str, folder: Folder | None, creator: User) -> Bundle:
    """Return the zip of what a share link opens: `folder` with its subfolders, or without one a flat list of files.

    It names no folder above. Raises FilesNotFound for no files, ValidationFailed for more than ten thousand, and
    ContentLost.
    """
    files = _members(rows)
    if not files:
        raise FilesNotFound(1)
    _require_size(len(files))
    ids = {file.folder_id for file in files}
    folder_paths: dict[int | None, list[str]] = {pk: [] for pk in ids}
    if folder:
        inside = dict(Folder.objects.below(folder).filter(pk__in=filter(None, ids)).values_list("pk", "path"))
        names = dict(Folder.objects.visible_to(creator).below(folder).values_list("pk", "name"))
        folder_paths = {
            pk: [names.get(step, "") for step in path[path.index(folder.pk) + 1 :]] for pk, path in inside.items()
        }
    return _bundle(name, files, folder_paths)


def _members(rows: FileQuerySet) -> list[MemberSource]:
    """Return up to MAX_FILES + 1 of the files."""
    ordered = rows.order_by("folder_id", "natural_name", "id")
    return [MemberSource(*row) for row in ordered.values_list(*COLUMNS)[: MAX_FILES + 1]]


def _bundle(name: str, files: list[MemberSource], folder_paths: Mapping[int | None, list[str]]) -> Bundle:
    require_deliverable(files)
    if missing := [file.name for file in files if file.checksum_status == ChecksumStatus.MISSING]:
        raise ContentLost(missing)
    encodings = _encodings(files)
    paths = paths_of([(folder_paths[file.folder_id], stored_name(file.name, encodings.get(file.id))) for file in files])
    members = [
        Member(path, file.size, file.modified or file.available_at) for path, file in zip(paths, files, strict=True)
    ]
    members.append(_manifest(members, files))
    return Bundle(f"{name}.zip", files, members, length_of(members))


def _encodings(files: Sequence[MemberSource]) -> Mapping[UUID, str]:
    """Return the content encodings of files that are stored compressed: a zip holds the stored bytes."""
    unknown = [file for file in files if file.content_encoding is None and file.origin != Origin.UPLOADED]
    encodings = {file.id: file.content_encoding for file in files if file.content_encoding}
    return {**encodings, **fetch_encodings(Place(file.id, file.key, file.store) for file in unknown)}


def _manifest(members: Sequence[Member], files: Sequence[MemberSource]) -> Member:
    size = sum(HEX_BYTES + len(b"  \n") + len(member.path.encode()) for member in members)
    return Member(MANIFEST, size, max(file.available_at for file in files))


def _folder_paths(user: User, ids: set[int | None]) -> tuple[str, dict[int | None, list[str]]]:
    """Return the name of the deepest folder that contains all of these, and the path to each from there.

    The name of a folder that the user cannot see is empty.
    """
    rows = Folder.objects.filter(pk__in=[pk for pk in ids if pk]).values_list("pk", "path")
    paths: dict[int | None, list[int]] = {pk: [] for pk in ids} | dict(rows)
    levels = zip(*paths.values(), strict=False)  # as deep as the shallowest path
    shared = [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, levels)]
    steps = {step for path in paths.values() for step in path}
    names = dict(Folder.objects.visible_to(user).filter(pk__in=steps).values_list("pk", "name"))
    relative_paths = {pk: [names.get(step, "") for step in path[len(shared) :]] for pk, path in paths.items()}
    return (names.get(shared[-1], "") if shared else ""), relative_paths


# Each download occupies a thread of the web process until it ends. There are eight, and pages need some.
MAX_CONCURRENT_ZIPS = 3
# Up to so many files are all checked before the first byte; of more, only those that were refused before.
MAX_FILES_CHECKED = 100
RECHECK_SECONDS = 10  # a download can take hours
_slots = threading.BoundedSemaphore(MAX_CONCURRENT_ZIPS)


class TooManyZips(Problem):
    code = "unavailable"
    status_code = 503
    retry_after = 30

    def __init__(self) -> None:
        super().__init__(_("Too many ZIP downloads are running. Try again in 30 seconds."))


class DownloadAborted(StorageUnavailable):
    """Ends a download whose headers are sent. Only the web server logs it, so the message must name no file."""

    def __init__(self, problem: Problem) -> None:
        Problem.__init__(self, f"A ZIP download was aborted ({problem.code}).")


def open_zip(
    bundle: Bundle, *, by: User, record: Recorder | None = None, accessible: Accessible = FileQuerySet.visible_to
) -> Download:
    """Start to read the files, and record each as downloaded. Iterate over the result, and always close it.

    `record` is given for guests, in the place of their link's creator: it records the files, or raises. `accessible`
    returns those of the files that may still be sent, and is called again and again.

    Raises TooManyAtOnce if this user has too many zips running, TooManyZips if this process has, FilesRefused if the
    storage is known to refuse some of the files, or does so for one of a few, and StorageUnavailable if it does not
    send the first bytes.
    """
    slot = GUEST_ZIPS.acquire(None) if record else ZIPS.acquire(by)
    if not _slots.acquire(blocking=False):
        slot.release()
        raise TooManyZips
    reader = Reader([])
    try:
        require_readable([file for file in bundle.files if file.refusal or len(bundle.files) <= MAX_FILES_CHECKED])
        reader = Reader(bundle.files)
        reader.begin()
        (record or partial(record_zip, by=by))(
            File(pk=file.id, series=file.series, name=file.name) for file in bundle.files
        )  # fmt: skip
    except BaseException as fault:
        reader.close()
        _slots.release()
        slot.release()
        if isinstance(fault, ObjectRefused) and reader.refused:
            raise _record_refusals(reader) from None
        raise
    return Download(bundle, reader, slot, by=by, accessible=accessible)


def _record_refusals(reader: Reader) -> FilesRefused:
    for file, fault in reader.refused:
        save_refusal(file, fault.reason)
    return FilesRefused([(file.name, fault.reason) for file, fault in reader.refused])


class Download:
    """Iterate over the bytes of a zip, `bundle.length` of them.

    Raises before the end if a file cannot be read as it was uploaded, or if the user has lost access to one: a client
    that knows the length then knows that the download failed.
    """

    def __init__(self, bundle: Bundle, reader: Reader, slot: Slot, *, by: User, accessible: Accessible) -> None:
        self._bundle = bundle
        self._slot = slot
        self._rate = LowestRate()
        self._last_chunk: tuple[float, int] | None = None  # when the last chunk was sent, and its size
        self._user_id = by.pk
        self._accessible = accessible
        self._reader = reader
        self._chunks = write(self._entries())
        self._open = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            self._require_rate()
            chunk = next(self._chunks)
            self._last_chunk = (time.monotonic(), len(chunk))
            return chunk
        except Problem as problem:
            _record_refusals(self._reader)  # so that the next zip with them is refused at once
            detail = getattr(problem, "detail", "")
            logger.warning("zip_failed files=%s error=%s: %s", len(self._bundle.files), type(problem).__name__, detail)
            raise DownloadAborted(problem) from None

    def close(self) -> None:
        """Stop reading and release the slots. Safe to repeat."""
        if self._open:
            self._open = False
            self._reader.close()
            self._chunks.close()
            _slots.release()
            self._slot.release()

    def _require_rate(self) -> None:
        """Raise TooSlow if the client has read too slowly for a minute: other requests need its thread."""
        if self._last_chunk is None:
            return
        sent_at, size = self._last_chunk
        if not self._rate.is_fast_enough(size=size, seconds=time.monotonic() - sent_at):
            raise TooSlow(_("The download was too slow and was stopped. Try again on a faster connection."))

    def _entries(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        *members, manifest = self._bundle.members
        checked_at = time.monotonic()
        for number, (member, body) in enumerate(zip(members, self._reader.bodies(), strict=True)):
            if time.monotonic() - checked_at >= RECHECK_SECONDS:
                self._require_access(number)
                checked_at = time.monotonic()
            yield member, body
        yield manifest, self._manifest_lines(members)

    def _require_access(self, number: int) -> None:
        """Raise Forbidden if the user has lost access to a file from `number` on since the zip began.

        A file that was only deleted or replaced is still sent.
        """
        remaining = File.objects.filter(pk__in=[file.id for file in self._bundle.files[number:]], state=State.AVAILABLE)
        user = User.objects.filter(pk=self._user_id, is_active=True).first()
        accessible = self._accessible(remaining, user) if user else File.objects.none()
        if remaining.exclude(pk__in=accessible.filter(quarantined=False).values("pk")).exists():
            raise Forbidden(_("You no longer have access to one of the files in this ZIP. Select the files again."))

    def _manifest_lines(self, members: list[Member]) -> Iterator[bytes]:
        """Yield the manifest's lines, as `sha256sum --check` reads them."""
        for digest, member in zip(self._reader.digests, members, strict=True):
            yield f"{digest}  {member.path}\n".encode()
