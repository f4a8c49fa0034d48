"""Read objects in order, a few of them ahead, and verify each against its row."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import translation
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import ObjectRefused, Problem, StorageUnavailable
from uploads.parts import CompositeHash

CHUNK_BYTES = 256 * 1024
MAX_QUEUED_CHUNKS = 4  # per object
MAX_QUEUED_OBJECTS = 6  # so at most 6 MiB are buffered
READER_THREADS = 4


class ContentChanged(StorageUnavailable):
    """An object is missing or differs from its row, so that the whole download fails."""

    def __init__(self, source: MemberSource) -> None:
        text = _(
            "“%(name)s” in storage differs from the file that was uploaded. Leave it out of the "
            "download, and tell an administrator."
        )
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
    scan_status: str
    quarantined: bool


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
        self._limiter = s3.RateLimiter(stop=self._closed.is_set)
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
        etag = "" if file.checksum else file.etag
        reader = s3.ObjectReader(file.key, etag=etag, store=file.store, limiter=self._limiter)
        try:
            with closing(reader.chunks(CHUNK_BYTES)) as chunks:
                for chunk in chunks:
                    verifier.add(chunk)
                    if not queue.put(chunk):
                        return
            queue.end(digest=verifier.finish())
        except (s3.NoSuchObject, s3.EtagMismatch):
            queue.end(fault=ContentChanged(file))
        except ObjectRefused as fault:
            self.refused.append((file, fault))
            queue.end(fault=fault)
        except Exception as fault:  # raised in the thread that waits for the bytes
            queue.end(fault=fault)


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
        self._file = file
        self._size = 0
        self._parts = CompositeHash(file.part_size)
        self._whole = hashlib.sha256() if file.size > file.part_size else None  # otherwise the digest of the only part

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._file.size:
            raise ContentChanged(self._file)
        self._parts.update(chunk)
        if self._whole is not None:
            self._whole.update(chunk)

    def finish(self) -> str:
        """Return the hex SHA-256 of the file. Raises ContentChanged if the bytes differ from the row."""
        self._parts.finish()
        if self._size != self._file.size or self._file.checksum not in {"", self._parts.checksum}:
            raise ContentChanged(self._file)
        return self._whole.hexdigest() if self._whole else base64.b64decode(self._parts.checksum).hex()
