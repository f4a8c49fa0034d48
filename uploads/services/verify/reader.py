"""An object read from its first byte to its last, and the checksum that its bytes have."""

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
    """How fast to read. Called with the number of bytes that came, before the next are asked for: it may wait, and it
    may raise to end the reading."""

    chunk: int  # bytes to ask for at once

    def __call__(self, count: int) -> None: ...


class FullSpeed:
    chunk = CHUNK_BYTES

    def __call__(self, count: int) -> None:
        return


FULL_SPEED = FullSpeed()


def never() -> bool:
    return False


class ResumableHasher:
    """One object on its way through the hash. It may be left at the end of a part, and gone on with in another process
    that is given the digests of the parts so far. Memory does not grow with the object."""

    def __init__(self, file: File, digests: Iterable[str] = ()) -> None:
        self.file = file
        self.digests = list(digests)  # base64, of the parts that are read
        self.missing = self.archived = False
        self.size: int | None = None  # as the store has it
        self.etag = self.content_encoding = ""
        self.first_bytes = b""
        self._at = min(len(self.digests) * file.part_size, file.size)
        self._part = hashlib.sha256()
        self._room = file.part_size

    @property
    def checksum(self) -> str:
        """Of the whole, as S3 reckons it over parts of the row's size. To be asked for at the end."""
        return checksum_of(self.digests)

    def run(self, *, pace: Pace = FULL_SPEED, enough: Callable[[], bool] = never) -> bool:
        """Read on. True at the end, and as soon as it is certain that these are not the announced bytes: no object is
        there (`missing`), or one of another `size`. False where `enough` said so at the end of a part.

        Goes on where a connection broke. Raises StorageUnavailable, StorageDenied, and what `pace` raises.
        """
        tries = 0
        while True:
            begun = self._at
            try:
                return self._read(pace, enough)
            except StorageUnavailable as fault:
                tries = 1 if self._at > begun else tries + 1
                if isinstance(fault, StorageDenied) or tries >= MAX_ATTEMPTS:
                    raise
                time.sleep(PAUSE_SECONDS * tries)
                pace(0)

    def _read(self, pace: Pace, enough: Callable[[], bool]) -> bool:
        if 0 < self._at == self.file.size:  # all but the end of the answer came
            return self._finish()
        opened = s3.stream(self.file.key, start=self._at, store=self.file.store)
        if opened is None:
            self.missing = True
            return True
        with opened as stream:
            self.size, self.etag, self.archived = stream.size, stream.etag, stream.is_archived
            self.content_encoding = stream.content_encoding
            if self.size != self.file.size:
                return True
            for piece in stream.chunks(pace.chunk):
                if self._at + len(piece) > self.size:  # the storage sends more than it announced
                    self.size = self._at + len(piece)
                    return True
                ended = self._add(piece)
                pace(len(piece))
                if ended and self._at < self.size and enough():
                    self._forget_begun_part()
                    return False
        if self._at != self.size:
            raise StorageUnavailable("GetObject: ended early")
        return self._finish()

    def _add(self, piece: bytes) -> bool:
        """Whether a part ended in this piece."""
        if self._at < FIRST_BYTES:
            self.first_bytes = (self.first_bytes + piece)[:FIRST_BYTES]
        self._at += len(piece)
        view, before = memoryview(piece), len(self.digests)
        while len(view) >= self._room:
            head, view = view[: self._room], view[self._room :]
            self._part.update(head)
            self._end_part()
        if view:
            self._part.update(view)
            self._room -= len(view)
        return len(self.digests) > before

    def _end_part(self) -> None:
        self.digests.append(encode_digest(self._part.digest()))
        self._part, self._room = hashlib.sha256(), self.file.part_size

    def _forget_begun_part(self) -> None:
        self._at = len(self.digests) * self.file.part_size
        self._part, self._room = hashlib.sha256(), self.file.part_size

    def _finish(self) -> bool:
        if self._room < self.file.part_size or not self.digests:  # the last part is shorter; an empty file is one part
            self._end_part()
        return True
