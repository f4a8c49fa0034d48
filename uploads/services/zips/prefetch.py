"""Read objects in order, a few of them ahead, and verify each against its row."""

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
MAX_QUEUED_CHUNKS = 4  # per object
MAX_QUEUED_OBJECTS = 6  # so at most 6 MiB are buffered
READER_THREADS = 4
MAX_ATTEMPTS = 4  # without a byte in between
PAUSE_SECONDS = 0.5


class ContentChanged(StorageUnavailable):
    """An object is missing or differs from its row, so that the whole download fails."""

    def __init__(self, source: MemberSource) -> None:
        text = _("“%(name)s” is not in the store as it was uploaded. Leave it out, and tell an administrator.")
        Problem.__init__(self, text % {"name": source.name})
        self.detail = f"file={source.id}"


@dataclass(frozen=True, slots=True)
class MemberSource:
    """The needed columns of a file's row: much less memory than a File, as there can be ten thousand."""

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
    checksum: str  # "" for an imported file that was never read
    etag: str
    checksum_status: str
    modified: datetime | None
    available_at: datetime
    refusal: str


class Reader:
    """Reads ahead from its creation on. It must be closed."""

    def __init__(self, files: Sequence[MemberSource]) -> None:
        self._files = files
        self._language = translation.get_language()
        self._queues = [_ChunkQueue() for _file in files[:MAX_QUEUED_OBJECTS]]
        self._free = threading.Semaphore(len(self._queues))
        self._lock = threading.Lock()
        self._next = 0
        self._closed = threading.Event()
        self.digests: list[str] = []  # hex SHA-256 of each object that was read to its end
        self.refused: list[tuple[MemberSource, ObjectRefused]] = []  # files whose objects the storage refuses
        for _number in range(min(READER_THREADS, len(files))):
            threading.Thread(target=self._run, daemon=True).start()

    def begin(self) -> None:
        """Wait for the first bytes. Raises the error that prevents them."""
        if self._files:
            self._queues[0].wait()

    def bodies(self) -> Iterator[Iterator[bytes]]:
        """Yield the chunks of one object after the other.

        Raises StorageUnavailable for an object that differs from its row, at its end at the latest.
        """
        for number in range(len(self._files)):
            yield self._chunks_of(self._queues[number % len(self._queues)])

    def close(self) -> None:
        self._closed.set()
        for queue in self._queues:
            queue.close()
        for _number in range(READER_THREADS):
            self._free.release()

    def _chunks_of(self, queue: _ChunkQueue) -> Iterator[bytes]:
        yield from queue.chunks()
        self.digests.append(queue.digest)
        self._free.release()

    def _run(self) -> None:
        while True:
            self._free.acquire()
            with self._lock:
                number, self._next = self._next, self._next + 1
            if self._closed.is_set() or number >= len(self._files):
                return
            with translation.override(self._language):
                self._read_into(self._files[number], self._queues[number % len(self._queues)])

    def _read_into(self, file: MemberSource, queue: _ChunkQueue) -> None:
        verifier = _ChecksumVerifier(file)
        try:
            for chunk in self._chunks(file):
                verifier.add(chunk)
                if not queue.put(chunk):
                    return
            queue.end(digest=verifier.finish())
        except ObjectRefused as fault:
            self.refused.append((file, fault))
            queue.end(fault=fault)
        except Exception as fault:  # raised in the thread that waits for the bytes
            queue.end(fault=fault)

    def _chunks(self, file: MemberSource) -> Iterator[bytes]:
        """Yield the object's chunks, and resume after a broken connection while attempts still bring bytes."""
        position = attempts = 0
        while True:
            try:
                with _open_stream(file, position) as stream:
                    for chunk in stream.chunks(CHUNK_BYTES):
                        position, attempts = position + len(chunk), 0
                        yield chunk
                return
            except StorageUnavailable as fault:
                attempts += 1
                final = (
                    isinstance(fault, ContentChanged | StorageDenied)
                    or attempts >= MAX_ATTEMPTS
                    or position >= file.size
                )
                if final or self._closed.wait(PAUSE_SECONDS * attempts):
                    raise


class _ChunkQueue:
    """A bounded queue of chunks between two threads, used for one object after the other."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._fault: Exception | None = None
        self.digest = ""

    def put(self, chunk: bytes) -> bool:
        """Add a chunk. Returns False once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._chunks) < MAX_QUEUED_CHUNKS)
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


class _ChecksumVerifier:
    """Computes the size, S3's composite checksum and the plain SHA-256 of bytes as they pass.

    The checksum of a file that was never read is unknown: the ETag of each response is compared instead.
    """

    def __init__(self, file: MemberSource) -> None:
        self.file = file
        self.size = 0
        self.file_hash = hashlib.sha256()
        self.part_hash, self.part_bytes = hashlib.sha256(), 0
        self.digests: list[str] = []

    def add(self, chunk: bytes) -> None:
        self.file_hash.update(chunk)
        self.size += len(chunk)
        if self.size > self.file.size:
            raise ContentChanged(self.file)
        if self.file.size > self.file.part_size:
            self._add_to_parts(chunk)

    def finish(self) -> str:
        """Return the hex SHA-256 of the file. Raises ContentChanged if the bytes differ from the row."""
        if self.part_bytes:
            self._end_part()
        digests = self.digests or [parts.encode_digest(self.file_hash.digest())]
        if self.size != self.file.size or self.file.checksum not in {"", parts.checksum_of(digests)}:
            raise ContentChanged(self.file)
        return self.file_hash.hexdigest()

    def _add_to_parts(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            piece = view[: self.file.part_size - self.part_bytes]
            self.part_hash.update(piece)
            self.part_bytes += len(piece)
            view = view[len(piece) :]
            if self.part_bytes == self.file.part_size:
                self._end_part()

    def _end_part(self) -> None:
        self.digests.append(parts.encode_digest(self.part_hash.digest()))
        self.part_hash, self.part_bytes = hashlib.sha256(), 0


def _open_stream(file: MemberSource, position: int) -> s3.Stream:
    stream = s3.stream(file.key, start=position, store=file.store)
    if stream is None:
        raise ContentChanged(file)
    if not file.checksum and stream.etag != file.etag:
        stream.close()
        raise ContentChanged(file)
    return stream
