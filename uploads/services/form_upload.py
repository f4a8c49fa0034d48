"""Take files that come through the application itself: the form without JavaScript.

The bytes pass through one part-sized buffer on their way to the store; nothing touches the disk.
Nothing is available before `publish`, and whatever is not published when the receiver closes is
given up, reservation and bytes.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import Problem, TooLarge, ValidationFailed
from uploads.failpoints import failpoint
from uploads.models import File, Folder, State, Usage, Visibility
from uploads.parts import encode_digest
from uploads.services.finish import Finished, finish
from uploads.services.sign import open_multipart
from uploads.services.start import start
from uploads.services.trash import cancel_expired
from uploads.services.tree import ensure
from uploads.services.versions import count_versions, require_version_room
from uploads.upload_requests import FinishRequest, NewUpload


@dataclass(slots=True)
class UploadTarget:
    """One file on its way in. `file` is its row, once enough has come to need one."""

    name: str
    claimed_type: str
    at_most: int  # bytes that can still come, by the length of the request
    file: File | None = None
    problem: Problem | None = None
    size: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    digests: list[str] = field(default_factory=list)


class StreamingUpload:
    """Receives the files of one request, one after the other: begin, write, end; then publish.

    A file that fails keeps its Problem and does not stop the others.
    """

    def __init__(self, owner: User) -> None:
        self.owner = owner
        self.files: list[UploadTarget] = []

    def __enter__(self) -> Self:
        """Raises StorageUnavailable: while the bytes come it is waited for long, so it is asked first."""
        s3.ping()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for incoming in self.files:
            self._give_up(incoming)

    def begin(self, *, name: str, claimed_type: str, at_most: int) -> None:
        """Expect a file of at most so many bytes. `name` is clean."""
        bound = min(at_most, settings.UPLOAD_MAX_BYTES)
        self.files.append(UploadTarget(name, claimed_type, bound))

    def write(self, chunk: bytes) -> None:
        """Take bytes of the file begun last; a full part goes to the store. Raises Problem."""
        incoming = self.files[-1]
        incoming.size += len(chunk)
        if incoming.size > incoming.at_most:
            raise TooLarge(
                _("The file is larger than the %(most)s bytes that are accepted here.")
                % {"most": f"{incoming.at_most:,}"}
            )
        incoming.buffer += chunk
        part_size = incoming.file.part_size if incoming.file else settings.UPLOAD_PART_BYTES
        while len(incoming.buffer) > part_size:
            file = incoming.file or self._reserve(incoming, size=incoming.at_most)
            part_size = file.part_size
            if len(incoming.buffer) > part_size:
                self._send_part(incoming, file, part_size)

    def end(self) -> None:
        """The file begun last is whole: send what is left of it. Raises Problem."""
        incoming = self.files[-1]
        file = incoming.file or self._reserve(incoming, size=incoming.size)
        if incoming.digests:
            self._send_part(incoming, file, len(incoming.buffer))
        else:
            self._send_whole(incoming, file)
        if file.size != incoming.size:
            self._settle_size(file, incoming.size)

    def fail(self, problem: Problem) -> None:
        """The file begun last is not taken."""
        self.files[-1].problem = problem
        self._give_up(self.files[-1])

    def publish(self, *, submission: uuid.UUID, place: Mapping[str, Any]) -> list[tuple[str, File | Problem]]:
        """Make what came whole available; per file its name and its row, or what went wrong.

        `submission` names the form that was sent: the same file sent with it twice is one file. `place` is
        what the rows are to say of where they are and who sees them: `in_folder` or `as_version` makes it.
        """
        answers: list[tuple[str, File | Problem]] = []
        for index, incoming in enumerate(self.files):
            outcome = incoming.problem or self._publish_one(incoming, submission=submission, index=index, place=place)
            answers.append((incoming.name, outcome))
        return answers

    def in_folder(self, folder: Folder | None, visibility: Visibility) -> dict[str, Any]:
        """Raises Forbidden where this person may not put files."""
        answer = ensure([""], by=self.owner, into=folder)[""]
        if isinstance(answer, Problem):
            raise answer
        return {"folder": folder, "visibility": visibility}

    def as_version(self, file: File) -> dict[str, Any]:
        """The one file that came is to be a new version of this one. Raises ValidationFailed for more than one."""
        if len(self.files) != 1:
            raise ValidationFailed(_("Choose one file: it takes the place of the present version."))
        require_version_room(count_versions([file.link])[file.link])
        return {"folder_id": file.folder_id, "visibility": file.visibility, "series": file.link, "current": False}

    def _reserve(self, incoming: UploadTarget, *, size: int) -> File:
        new = NewUpload(token=uuid.uuid4(), name=incoming.name, size=size, claimed_type=incoming.claimed_type)
        (answer,) = start(self.owner, [new])
        if isinstance(answer, Problem):
            raise answer
        incoming.file = answer.file
        failpoint("receive.1-reserved")
        return answer.file

    def _send_whole(self, incoming: UploadTarget, file: File) -> None:
        body = bytes(incoming.buffer)
        incoming.buffer = bytearray()
        incoming.digests = [encode_digest(hashlib.sha256(body).digest())]
        s3.put(file.key, body, sha256=incoming.digests[0], store=file.store)
        failpoint("receive.2-whole-sent")

    def _send_part(self, incoming: UploadTarget, file: File, length: int) -> None:
        part = bytes(memoryview(incoming.buffer)[:length])
        del incoming.buffer[:length]
        digest = encode_digest(hashlib.sha256(part).digest())
        number = len(incoming.digests) + 1
        s3.upload_part(file.key, open_multipart(file), number, part, sha256=digest, store=file.store)
        failpoint("receive.3-part-sent")
        incoming.digests.append(digest)

    def _settle_size(self, file: File, size: int) -> None:
        """The row was reserved for the most that could come; now the size is known."""
        with transaction.atomic():
            usage = Usage.objects.locked(self.owner.pk)
            rows = File.objects.filter(pk=file.pk, state=State.UPLOADING)
            if rows.update(size=size):
                usage.change(files=0, bytes=size - file.size)
                failpoint("receive.4-size-settling")
                file.size = size

    def _publish_one(
        self, incoming: UploadTarget, *, submission: uuid.UUID, index: int, place: Mapping[str, Any]
    ) -> File | Problem:
        file = incoming.file
        if file is None:
            return ValidationFailed(_("The file did not arrive whole. Send it again."))
        told_apart = f"{index}/{incoming.name}/{incoming.size}/{' '.join(incoming.digests)}"
        token = uuid.uuid5(submission, told_apart)
        try:
            with transaction.atomic():
                File.objects.filter(pk=file.pk).update(token=token, **place)
        except IntegrityError:
            file = self._twin(token) or file
        failpoint("receive.5-placed")
        return self._finish(file, incoming.digests)

    def _twin(self, token: uuid.UUID) -> File | None:
        """The same file sent before with the same form, unless it was removed since. Whoever of the
        two requests comes first finishes it: the bytes are the same."""
        living = Q(state__in=[State.UPLOADING, State.COMPLETING, State.AVAILABLE])
        return File.objects.filter(living, owner=self.owner, token=token).first()

    def _finish(self, file: File, digests: Sequence[str]) -> File | Problem:
        (answer,) = finish(self.owner, [FinishRequest(file.pk, list(digests))])
        return answer.file if isinstance(answer, Finished) else answer

    def _give_up(self, incoming: UploadTarget) -> None:
        """Let go of a row that did not become available; one that did stays."""
        incoming.buffer = bytearray()
        if incoming.file is not None:
            cancel_expired(incoming.file)
