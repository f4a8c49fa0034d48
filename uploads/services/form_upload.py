"""Stream the files of the upload form without JavaScript to the storage.

Bytes pass through a buffer of one part, and small files wait in memory for others; nothing is written to disk. No file
is available before `publish`. When the upload closes, files that are not published are cancelled, with their
reservation and bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import Conflict, Problem, TooLarge, ValidationFailed
from uploads.failpoints import failpoint
from uploads.humanize import humanize_bytes
from uploads.models import File, Folder, GuestSession, SameName, State, Usage, Visibility
from uploads.names import normalize_for_search
from uploads.parts import digest_of
from uploads.s3.client import STORAGE_CONCURRENCY
from uploads.services.files import discard_upload
from uploads.services.finish import Finished, FinishRequest, finish
from uploads.services.name_conflicts import NameConflict, find_conflicts
from uploads.services.sign import open_multipart
from uploads.services.start import NewUpload, count_versions, require_version_room, start, version_fields
from uploads.services.tree import ensure

WAITING_BYTES = 4 * 1024**2  # of small files that get their rows in one call


def _place_beside(conflict: NameConflict, same_name: SameName, place: Mapping[str, Any]) -> dict[str, Any]:
    """Return the place of a file whose name exists: that of a new version, or `place` with a name that is free.

    Raises Conflict for a file to skip, or ValidationFailed for a file with too many versions.
    """
    if same_name == SameName.SKIP:
        raise Conflict(_("Skipped: a file with this name exists."))
    if same_name == SameName.NEW_VERSION and conflict.replaceable:
        return version_place(conflict.file)
    name = conflict.free_name
    return {**place, "name": name, "normalized_name": normalize_for_search(name)}


def version_place(file: File) -> dict[str, Any]:
    """Return the fields of a new version of this file. Raises ValidationFailed if it has too many versions."""
    require_version_room(count_versions([file.permanent_id])[file.permanent_id])
    return version_fields(file)


def _send_whole(target: UploadTarget) -> None:
    """Send a file that has a row, or note why it failed. Safe to call in threads: it makes no query."""
    file = cast(File, target.file)
    body = bytes(target.buffer)
    target.buffer = bytearray()
    target.digests = [digest_of(body)]
    try:
        s3.put(file.key, body, sha256=target.digests[0], store=file.store)
        failpoint("receive.2-whole-sent")
    except Problem as problem:
        target.problem = problem


@dataclass(slots=True)
class UploadTarget:
    """A file of the form. `file` is its row, which is created when the first part is full or the file ends."""

    name: str
    declared_type: str
    max_bytes: int  # bytes that can still arrive, by the length of the request
    file: File | None = None
    problem: Problem | None = None
    size: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    digests: list[str] = field(default_factory=list)
    is_available: bool = False


class StreamingUpload:
    """Receive the files of one request, one after another: begin, write, end; then publish.

    A file that fails keeps its Problem and does not stop the others. With `guest`, a guest sends them to a file request
    of `owner`.
    """

    def __init__(self, owner: User, *, guest: GuestSession | None = None) -> None:
        self.owner = owner
        self.guest = guest
        self.request = guest.request if guest else None
        self.files: list[UploadTarget] = []
        self.waiting: list[UploadTarget] = []  # complete files that have no row yet

    def __enter__(self) -> Self:
        """Ping the storage first, since later calls retry for long. Raises StorageUnavailable."""
        s3.ping()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for target in self.files:
            if not target.is_available:
                self._cancel(target)

    def begin(self, *, name: str, declared_type: str, max_bytes: int) -> None:
        """Begin a file of at most `max_bytes` bytes. `name` is clean."""
        max_bytes = min(max_bytes, settings.UPLOAD_MAX_BYTES)
        if self.request:
            remaining = self.request.remaining_bytes - sum(target.size for target in self.files)
            max_bytes = min(max_bytes, self.request.max_file_bytes, max(0, remaining))
        self.files.append(UploadTarget(name, declared_type, max_bytes))

    def write(self, chunk: bytes) -> None:
        """Add bytes to the current file, and send each full part to the storage. Raises Problem."""
        target = self.files[-1]
        target.size += len(chunk)
        if target.size > target.max_bytes:
            raise TooLarge(
                _("The file is too large. The limit is %(most)s.") % {"most": humanize_bytes(target.max_bytes)}
            )
        target.buffer += chunk
        part_size = target.file.part_size if target.file else settings.UPLOAD_PART_BYTES
        while len(target.buffer) > part_size:
            file = target.file or self._reserve(target, size=target.max_bytes)
            part_size = file.part_size
            if len(target.buffer) > part_size:
                self._send_part(target, file, part_size)

    def end(self) -> None:
        """End the current file: send the rest of it, or let a small one wait for others. Raises Problem."""
        target = self.files[-1]
        if target.file is None:
            self.waiting.append(target)
            if sum(waiting.size for waiting in self.waiting) >= WAITING_BYTES:
                self._send_waiting()
            return
        self._send_part(target, target.file, len(target.buffer))
        if target.file.size != target.size:
            self._settle_size(target.file, target.size)

    def fail(self, problem: Problem) -> None:
        """Refuse the current file."""
        self.files[-1].problem = problem
        self._cancel(self.files[-1])

    def publish(
        self, *, submission: uuid.UUID, place: Mapping[str, Any], same_name: SameName | None = None
    ) -> list[tuple[str, File | Problem]]:
        """Publish the complete files, and return for each its name and its row, or the problem.

        `submission` identifies the form: the same file sent with it twice is one file. `place` has the fields for
        folder and visibility of the rows, from `in_folder` or `as_version`. `same_name` decides about files whose name
        exists in the folder: Conflict for those that are skipped. Without it they are added under the same name.
        """
        self._send_waiting()
        outcomes: dict[int, File | Problem] = {}
        new: dict[int, File] = {}
        for index, (target, conflict) in enumerate(zip(self.files, self._conflicts(same_name, place), strict=True)):
            token = self._token(target, submission, index)
            try:
                fields = _place_beside(conflict, same_name, place) if conflict and same_name else place
                file = self._place(target, token=token, place=fields)
                if "series" in fields:
                    outcomes |= self._finish({index: file})  # one by one: of two new versions, the last one counts
                else:
                    new[index] = file
            except Problem as problem:
                outcomes[index] = problem if target.problem else self._existing(token) or problem
        outcomes |= self._finish(new)
        return [(target.name, outcomes[index]) for index, target in enumerate(self.files)]

    def in_folder(self, folder: Folder | None, visibility: Visibility) -> dict[str, Any]:
        """Return the place for files in this folder. Raises Forbidden if this person may not add files to it."""
        outcome = ensure([""], by=self.owner, into=folder)[""]
        if isinstance(outcome, Problem):
            raise outcome
        return {"folder": folder, "visibility": visibility}

    def as_version(self, file: File) -> dict[str, Any]:
        """Return the place for a new version of this file. Raises ValidationFailed unless exactly one file was sent."""
        if len(self.files) != 1:
            raise ValidationFailed(_("Choose one file to replace the current version."))
        return version_place(file)

    def _reserve(self, target: UploadTarget, *, size: int) -> File:
        self._reserve_all([target], size=size)
        if target.problem:
            raise target.problem
        return cast(File, target.file)

    def _reserve_all(self, targets: Sequence[UploadTarget], *, size: int | None = None) -> None:
        """Create the rows of these files, of their own size or of `size` bytes, or note why a file is refused."""
        new = [
            NewUpload(
                token=uuid.uuid4(),
                name=target.name,
                size=target.size if size is None else size,
                declared_type=target.declared_type,
            )
            for target in targets
        ]
        folder = self.request.folder if self.request else None
        for target, outcome in zip(targets, start(self.owner, new, into=folder, guest=self.guest), strict=True):
            if isinstance(outcome, Problem):
                target.problem = outcome
            else:
                target.file = outcome.file
        failpoint("receive.1-reserved")

    def _send_waiting(self) -> None:
        """Create the rows of the waiting files with one call, and send the files concurrently."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        try:
            self._reserve_all(waiting)
        except Problem as problem:
            for target in waiting:
                target.problem = problem
        reserved = [target for target in waiting if target.file]
        if len(reserved) > 1:
            with ThreadPoolExecutor(STORAGE_CONCURRENCY) as pool:
                list(pool.map(_send_whole, reserved))
        elif reserved:
            _send_whole(reserved[0])
        for target in waiting:
            if target.problem:
                self._cancel(target)

    def _send_part(self, target: UploadTarget, file: File, length: int) -> None:
        part = bytes(memoryview(target.buffer)[:length])
        del target.buffer[:length]
        digest = digest_of(part)
        number = len(target.digests) + 1
        s3.upload_part(file.key, open_multipart(file), number, part, sha256=digest, store=file.store)
        failpoint("receive.3-part-sent")
        target.digests.append(digest)

    def _settle_size(self, file: File, size: int) -> None:
        """Set the size of the row, which was reserved for the largest possible size."""
        with transaction.atomic():
            usage = Usage.objects.locked(self.owner.pk)
            rows = File.objects.filter(pk=file.pk, state=State.UPLOADING)
            if rows.update(size=size):
                usage.change(files=0, bytes=size - file.size)
                failpoint("receive.4-size-settling")
                file.size = size

    def _token(self, target: UploadTarget, submission: uuid.UUID, index: int) -> uuid.UUID:
        """Return the token that the same file has whenever it is sent with this form."""
        return uuid.uuid5(submission, f"{index}/{target.name}/{target.size}/{' '.join(target.digests)}")

    def _conflicts(self, same_name: SameName | None, place: Mapping[str, Any]) -> list[NameConflict | None]:
        if not same_name:
            return [None] * len(self.files)
        return find_conflicts(self.owner, [("", target.name) for target in self.files], into=place["folder"])

    def _place(self, target: UploadTarget, *, token: uuid.UUID, place: Mapping[str, Any]) -> File:
        """Put the file where it belongs and return its row, or that of the same file sent before. Raises Problem."""
        if target.problem:
            raise target.problem
        file = target.file
        if file is None:
            raise ValidationFailed(_("The upload was incomplete. Upload the file again."))
        try:
            with transaction.atomic():
                File.objects.filter(pk=file.pk).update(token=token, **place)
        except IntegrityError:
            file = self._existing(token) or file
        failpoint("receive.5-placed")
        return file

    def _existing(self, token: uuid.UUID) -> File | None:
        """Return the row of the same file sent before with the same form, unless it was removed since.

        The first of the two requests finishes it, since the bytes are the same.
        """
        living = Q(state__in=[State.UPLOADING, State.COMPLETING, State.AVAILABLE])
        return File.objects.uploads_of(self.owner, self.guest).filter(living, token=token).first()

    def _finish(self, placed: Mapping[int, File]) -> dict[int, File | Problem]:
        """Finish the rows of these files, given by the number of each file, and return what came of each."""
        requests = [FinishRequest(file.pk, list(self.files[index].digests)) for index, file in placed.items()]
        outcomes: dict[int, File | Problem] = {}
        results = finish(self.owner, requests, guest=self.guest) if requests else []
        for (index, file), outcome in zip(placed.items(), results, strict=True):
            self.files[index].is_available = isinstance(outcome, Finished) and file is self.files[index].file
            outcomes[index] = outcome.file if isinstance(outcome, Finished) else outcome
        return outcomes

    def _cancel(self, target: UploadTarget) -> None:
        """Cancel the row unless it became available."""
        target.buffer = bytearray()
        if target.file is not None:
            discard_upload(target.file)
