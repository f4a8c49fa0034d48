"""Objects in their order, a few of them read ahead, each held against what its row says."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import translation
from django.utils.translation import gettext as _

from uploads import parts, s3
from uploads.errors import ObjectRefused, Problem, StorageDenied, StorageUnavailable

CHUNK_BYTES = 256 * 1024
CHUNKS_AHEAD = 4  # of one object
OBJECTS_AHEAD = 6  # so at most 6 MiB wait for the reader
READERS = 4
MAX_ATTEMPTS = 4  # without a byte in between
PAUSE_SECONDS = 0.5


class ContentChanged(StorageUnavailable):
    """An object is gone, or is not what its row says: the whole download fails."""

    def __init__(self, wanted: MemberSource) -> None:
        text = _("“%(name)s” is not in the store as it was uploaded. Leave it out, and tell an administrator.")
        Problem.__init__(self, text % {"name": wanted.name})
        self.detail = f"file={wanted.id}"


@dataclass(frozen=True, slots=True)
class MemberSource:
    """What is needed of a row: much less than a File, for there may be ten thousand."""

    id: UUID
    series: UUID | None
    key: str
    store: str
    origin: str
    content_encoding: str | None
    name: str
    folder_id: int | None
    size: int
    part_size: int
    checksum: str  # "" as long as nobody has read an imported file
    etag: str
    basis: str
    modified: datetime | None
    available_at: datetime
    refusal: str


class Reader:
    """Reads ahead as soon as it is made; to be closed."""

    def __init__(self, files: Sequence[MemberSource]) -> None:
        self._files = files
        self._language = translation.get_language()
        self._channels = [_Channel() for _file in files[:OBJECTS_AHEAD]]
        self._free = threading.Semaphore(len(self._channels))
        self._lock = threading.Lock()
        self._next = 0
        self._closed = threading.Event()
        self.digests: list[str] = []  # hex SHA-256 of each object that was read to its end
        self.refused: list[tuple[MemberSource, ObjectRefused]] = []  # those that the storage does not give out
        for _number in range(min(READERS, len(files))):
            threading.Thread(target=self._work, daemon=True).start()

    def begin(self) -> None:
        """Wait for the first bytes; raises what is in their way."""
        if self._files:
            self._channels[0].wait()

    def bodies(self) -> Iterator[Iterator[bytes]]:
        """The chunks of one object after the other. Raises StorageUnavailable, at the end of an object at the
        latest, for one that is not what it should be."""
        for number in range(len(self._files)):
            yield self._body(self._channels[number % len(self._channels)])

    def close(self) -> None:
        self._closed.set()
        for channel in self._channels:
            channel.close()
        for _number in range(READERS):
            self._free.release()

    def _body(self, channel: _Channel) -> Iterator[bytes]:
        yield from channel.chunks()
        self.digests.append(channel.digest)
        self._free.release()

    def _work(self) -> None:
        while True:
            self._free.acquire()
            with self._lock:
                number, self._next = self._next, self._next + 1
            if self._closed.is_set() or number >= len(self._files):
                return
            with translation.override(self._language):
                self._read(self._files[number], self._channels[number % len(self._channels)])

    def _read(self, file: MemberSource, channel: _Channel) -> None:
        check = _Check(file)
        try:
            for chunk in self._chunks(file):
                check.add(chunk)
                if not channel.put(chunk):
                    return
            channel.end(digest=check.passed())
        except ObjectRefused as fault:
            self.refused.append((file, fault))
            channel.end(fault=fault)
        except Exception as fault:  # told by the one who waits for the bytes
            channel.end(fault=fault)

    def _chunks(self, file: MemberSource) -> Iterator[bytes]:
        """Goes on where a connection broke, as long as it gets on at all."""
        at = tries = 0
        while True:
            try:
                with _opened(file, at) as stream:
                    for chunk in stream.chunks(CHUNK_BYTES):
                        at, tries = at + len(chunk), 0
                        yield chunk
                return
            except StorageUnavailable as fault:
                tries += 1
                final = isinstance(fault, ContentChanged | StorageDenied) or tries >= MAX_ATTEMPTS or at >= file.size
                if final or self._closed.wait(PAUSE_SECONDS * tries):
                    raise


class _Channel:
    """From one thread to another, with room for a few chunks. One for several objects, one after the other."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._fault: Exception | None = None
        self.digest = ""

    def put(self, chunk: bytes) -> bool:
        """False when nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._chunks) < CHUNKS_AHEAD)
            self._chunks.append(chunk)
            self._changed.notify_all()
            return not self._closed

    def end(self, *, digest: str = "", fault: Exception | None = None) -> None:
        with self._changed:
            self._ended, self.digest, self._fault = True, digest, fault
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._ended or self._closed)
            if self._fault is not None and not self._chunks:
                raise self._fault

    def chunks(self) -> Iterator[bytes]:
        while True:
            self.wait()
            with self._changed:
                if not self._chunks:
                    self._ended = False
                    return
                chunk = self._chunks.popleft()
                self._changed.notify_all()
            yield chunk

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._chunks.clear()
            self._changed.notify_all()


class _Check:
    """Size and S3's composite checksum of bytes as they pass, and their plain SHA-256. Of a file that was never read
    the checksum is not known: there the ETag stands for it, that of every answer of the store."""

    def __init__(self, file: MemberSource) -> None:
        self.file = file
        self.size = 0
        self.whole = hashlib.sha256()
        self.part, self.filled = hashlib.sha256(), 0
        self.digests: list[str] = []

    def add(self, chunk: bytes) -> None:
        self.whole.update(chunk)
        self.size += len(chunk)
        if self.size > self.file.size:
            raise ContentChanged(self.file)
        if self.file.size > self.file.part_size:
            self._add_to_parts(chunk)

    def passed(self) -> str:
        """The hex SHA-256 of the whole. Raises NotAsAnnounced."""
        if self.filled:
            self._end_part()
        digests = self.digests or [parts.encode_digest(self.whole.digest())]
        if self.size != self.file.size or self.file.checksum not in {"", parts.checksum_of(digests)}:
            raise ContentChanged(self.file)
        return self.whole.hexdigest()

    def _add_to_parts(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            piece = view[: self.file.part_size - self.filled]
            self.part.update(piece)
            self.filled += len(piece)
            view = view[len(piece) :]
            if self.filled == self.file.part_size:
                self._end_part()

    def _end_part(self) -> None:
        self.digests.append(parts.encode_digest(self.part.digest()))
        self.part, self.filled = hashlib.sha256(), 0


def _opened(file: MemberSource, at: int) -> s3.Stream:
    stream = s3.stream(file.key, start=at, store=file.store)
    if stream is None:
        raise ContentChanged(file)
    if not file.checksum and stream.etag != file.etag:
        stream.close()
        raise ContentChanged(file)
    return stream
