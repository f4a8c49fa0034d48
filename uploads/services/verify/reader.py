"""Read an object from its first byte to its last, and compute its checksum."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from uploads import s3
from uploads.errors import StorageDenied, StorageUnavailable
from uploads.models import File
from uploads.parts import checksum_of, encode_digest

CHUNK_BYTES = 1024**2
FIRST_BYTES = 8192  # enough for every signature a content sniffer looks for
MAX_ATTEMPTS = 4  # without a byte in between
PAUSE_SECONDS = 0.5


class Pace(Protocol):
    """Limits the reading speed. Called with the number of bytes of each read: it can wait, or raise to stop."""

    chunk: int  # bytes to read at once

    def __call__(self, count: int) -> None: ...


class FullSpeed:
    chunk = CHUNK_BYTES

    def __call__(self, count: int) -> None:
        return


FULL_SPEED = FullSpeed()


def never() -> bool:
    return False


class ResumableHasher:
    """Hashes one object. It can pause at the end of a part, and another process can resume with the digests so far.

    Memory does not grow with the object.
    """

    def __init__(self, file: File, digests: Iterable[str] = ()) -> None:
        self.file = file
        self.digests = list(digests)  # base64, of the parts that were read
        self.missing = self.archived = False
        self.size: int | None = None  # in the storage
        self.etag = self.content_encoding = ""
        self.first_bytes = b""
        self._position = min(len(self.digests) * file.part_size, file.size)
        self._part = hashlib.sha256()
        self._part_left = file.part_size

    @property
    def checksum(self) -> str:
        """Return the composite checksum, as S3 computes it over parts of the row's size. Valid at the end only."""
        return checksum_of(self.digests)

    def run(self, *, pace: Pace = FULL_SPEED, should_pause: Callable[[], bool] = never) -> bool:
        """Read on. Return False if `should_pause` returned True at the end of a part.

        Return True at the end, and as soon as the bytes cannot be those of the row: the object is `missing`, or has
        another `size`. Resumes after a broken connection.

        Raises StorageUnavailable, StorageDenied, and what `pace` raises.
        """
        attempts = 0
        while True:
            position = self._position
            try:
                return self._read(pace, should_pause)
            except StorageUnavailable as fault:
                attempts = 1 if self._position > position else attempts + 1
                if isinstance(fault, StorageDenied) or attempts >= MAX_ATTEMPTS:
                    raise
                time.sleep(PAUSE_SECONDS * attempts)
                pace(0)

    def _read(self, pace: Pace, should_pause: Callable[[], bool]) -> bool:
        if 0 < self._position == self.file.size:  # all bytes came, only the end of the response did not
            return self._finish()
        response = s3.stream(self.file.key, start=self._position, store=self.file.store)
        if response is None:
            self.missing = True
            return True
        with response as stream:
            self.size, self.etag, self.archived = stream.size, stream.etag, stream.is_archived
            self.content_encoding = stream.content_encoding
            if self.size != self.file.size:
                return True
            for chunk in stream.chunks(pace.chunk):
                if self._position + len(chunk) > self.size:  # the storage sends more bytes than it declared
                    self.size = self._position + len(chunk)
                    return True
                part_ended = self._add(chunk)
                pace(len(chunk))
                if part_ended and self._position < self.size and should_pause():
                    self._discard_partial_part()
                    return False
        if self._position != self.size:
            raise StorageUnavailable("GetObject: ended early")
        return self._finish()

    def _add(self, chunk: bytes) -> bool:
        """Hash a chunk. Return whether a part ended in it."""
        if self._position < FIRST_BYTES:
            self.first_bytes = (self.first_bytes + chunk)[:FIRST_BYTES]
        self._position += len(chunk)
        view, completed = memoryview(chunk), len(self.digests)
        while len(view) >= self._part_left:
            head, view = view[: self._part_left], view[self._part_left :]
            self._part.update(head)
            self._end_part()
        if view:
            self._part.update(view)
            self._part_left -= len(view)
        return len(self.digests) > completed

    def _end_part(self) -> None:
        self.digests.append(encode_digest(self._part.digest()))
        self._part, self._part_left = hashlib.sha256(), self.file.part_size

    def _discard_partial_part(self) -> None:
        self._position = len(self.digests) * self.file.part_size
        self._part, self._part_left = hashlib.sha256(), self.file.part_size

    def _finish(self) -> bool:
        # the last part can be shorter; an empty file is one part
        if self._part_left < self.file.part_size or not self.digests:
            self._end_part()
        return True
