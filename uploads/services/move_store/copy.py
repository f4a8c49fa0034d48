"""Bring one object to the main store and find out that it came as it was. Knows no row and no database."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from tempfile import SpooledTemporaryFile
from typing import IO

from uploads import parts, s3
from uploads.errors import ObjectRefused, StorageDenied, StorageUnavailable

OWN_KEY = re.compile(r"[fp]/[0-9a-f]{32}")
CHUNK_BYTES = 1024**2
MAX_BYTES_IN_MEMORY = 64 * 1024**2  # larger parts wait on the disk for their digest
MAX_ATTEMPTS = 4  # without a byte in between
PAUSE_SECONDS = 0.5


class CannotMove(Exception):
    """This object stays where it is, and why: it is `missing`, `damaged`, `changed` since it was brought in, its key
    is `taken` by another program's in the main store, or its store does not give it out (models.Refusal)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Stopped(Exception):
    """Somebody wants the command to end."""


@dataclass(frozen=True, slots=True)
class CopyJob:
    """An object to be moved. `checksum` and `etag` are the row's, empty where it knows none; `content_encoding` is None
    where the store must be asked for it; `as_it_is`: whatever the bytes are."""

    key: str
    size: int
    part_size: int
    checksum: str = ""
    etag: str = ""
    content_encoding: str | None = ""
    as_it_is: bool = False


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The object in the main store. `checked`: it verified the bytes on arrival, and keeps the checksum."""

    etag: str
    checksum: str
    checked: bool
    content_encoding: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """From where, to where, and in whose name; `pace` is told of bytes and waits, `stop` ends everything."""

    source: str
    target: str
    mark: str
    pace: Callable[[int], None]
    stop: threading.Event


def copy_object(load: CopyJob, way: Route) -> CopyResult:
    """Copy an object and verify the copy. Safe to repeat: a copy that is there already is made anew.

    Raises CannotMove, StorageUnavailable (also where the copy is not right), and Stopped; no parts are left then.
    """
    if way.stop.is_set():
        raise Stopped
    lengths = _lengths(load)
    once = _require_free(load, way)
    load = _with_encoding(load, way)
    if len(lengths) > 1:
        for left in s3.multipart_ids(load.key, store=way.target):  # of a run that was killed
            s3.abort_multipart(load.key, left, store=way.target)
    with _naming_the_copy():
        made = s3.copy_within(
            load.key, lengths=lengths, mark=_mark(load, way), source=way.source, target=way.target,
            content_encoding=load.content_encoding or "", once=once,
        )  # fmt: skip
    if made and (carried := _as_the_store_copied(load, way)):
        return carried
    if not made and once:  # perhaps because the key was taken by now
        _require_free(load, way)
    try:
        return _through_us(load, way, lengths, once=once)
    except CannotMove:
        if made:
            s3.delete(load.key, store=way.target)
        raise


@contextlib.contextmanager
def _naming_the_copy() -> Iterator[None]:
    try:
        yield
    except ObjectRefused as fault:
        raise CannotMove(fault.reason) from None


def _lengths(load: CopyJob) -> list[int]:
    """As the row has them: its checksum rests on them."""
    size, part_size = load.size, load.part_size
    count = parts.part_count(size, part_size)
    return [parts.part_length(number, size=size, part_size=part_size) for number in range(1, count + 1)]


def _require_free(load: CopyJob, way: Route) -> bool:
    """A key that is not of our making may be another program's in the main store. Whether the copy may only be written
    where there is none: not over what a run that was killed has left."""
    if OWN_KEY.fullmatch(load.key):
        return False
    there = s3.copy_tag(load.key, store=way.target)
    if there is not None and there.by != way.mark:
        raise CannotMove("taken")
    return there is None


def _with_encoding(load: CopyJob, way: Route) -> CopyJob:
    if load.content_encoding is not None:
        return load
    with _naming_the_copy():
        there = s3.head(load.key, store=way.source)  # where there is none, reading it finds out
    return replace(load, content_encoding=there.content_encoding if there else "")


def _mark(load: CopyJob, way: Route) -> s3.CopyTag:
    return s3.CopyTag(way.mark, load.etag)


def _as_the_store_copied(load: CopyJob, way: Route) -> CopyResult | None:
    """None when the store's copy is not proved to be right."""
    copy = s3.head(load.key, store=way.target)
    if copy is None or copy.size != load.size:
        return None
    known = load.checksum or copy.checksum
    if copy.checksum == known if copy.checksum else copy.etag == load.etag:
        return CopyResult(copy.etag, known or "", bool(copy.checksum), load.content_encoding or "")
    return None


def _through_us(load: CopyJob, way: Route, lengths: list[int], *, once: bool) -> CopyResult:
    source = _Source(load, way)
    if len(lengths) == 1:
        _send_whole(load, way, source, once=once)
    else:
        _send_parts(load, way, source, lengths, once=once)
    copy, checksum = s3.head(load.key, store=way.target), parts.checksum_of(source.digests)
    if copy is None or copy.size != load.size or copy.checksum not in {None, checksum}:
        raise StorageUnavailable("HeadObject: the copy is not what was sent")
    return CopyResult(copy.etag, checksum, copy.checksum is not None, load.content_encoding or "")


def _send_whole(load: CopyJob, way: Route, source: _Source, *, once: bool) -> None:
    with source.part(load.size) as (body, digests):
        source.require_right()
        s3.put_file(
            load.key, body, digests=digests, store=way.target, mark=_mark(load, way),
            content_encoding=load.content_encoding or "", once=once,
        )  # fmt: skip


def _send_parts(load: CopyJob, way: Route, source: _Source, lengths: list[int], *, once: bool) -> None:
    begun = s3.create_multipart(
        load.key, metadata=_mark(load, way).metadata(), content_encoding=load.content_encoding or "", store=way.target
    )
    sent: list[s3.UploadedPart] = []
    try:
        for number, length in enumerate(lengths, start=1):
            with source.part(length) as (body, pair):
                sent.append(s3.put_part(load.key, begun, number, body, digests=pair, length=length, store=way.target))
        source.require_right()
        if not s3.complete_multipart(load.key, begun, sent, size=load.size, store=way.target, kind="bulk", once=once):
            raise StorageUnavailable("CompleteMultipartUpload: no such upload, or an object is there already")
    except BaseException:
        with contextlib.suppress(StorageUnavailable):  # the next run aborts it
            s3.abort_multipart(load.key, begun, store=way.target)
        raise


class _Source:
    """The bytes of the object as they are in the other store, part by part, with the checksum of what passed."""

    def __init__(self, load: CopyJob, way: Route) -> None:
        self._load = load
        self._way = way
        self._md5 = not s3.keeps_digests(way.target)
        self._chunks = self._read()
        self._rest = memoryview(b"")
        self.digests: list[str] = []

    @contextlib.contextmanager
    def part(self, length: int) -> Iterator[tuple[IO[bytes], tuple[str, str]]]:
        """The next `length` bytes as a file, with their base64 SHA-256 and MD5. Raises CannotMove at a short object."""
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with SpooledTemporaryFile(max_size=MAX_BYTES_IN_MEMORY) as body:
            while length:
                piece = self._take(length)
                length -= len(piece)
                sha256.update(piece)
                if self._md5:
                    md5.update(piece)
                body.write(piece)
            body.seek(0)
            self.digests.append(parts.encode_digest(sha256.digest()))
            yield body, (self.digests[-1], base64.b64encode(md5.digest()).decode())

    def require_right(self) -> None:
        """Raises CannotMove unless all the bytes came and are those of the row, as far as it knows."""
        if self._rest or next(self._chunks, None) is not None:
            raise CannotMove("damaged")
        load = self._load
        if load.checksum and not load.as_it_is and parts.checksum_of(self.digests) != load.checksum:
            raise CannotMove("damaged")

    def _take(self, most: int) -> memoryview:
        if not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise CannotMove("damaged")
            self._rest = memoryview(chunk)
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece

    def _read(self) -> Iterator[bytes]:
        """Goes on where a connection broke, as long as it gets on at all."""
        at = tries = 0
        while True:
            try:
                for chunk in self._read_from(at):
                    at, tries = at + len(chunk), 0
                    yield chunk
                return
            except StorageDenied:
                raise
            except StorageUnavailable:
                tries += 1
                if tries >= MAX_ATTEMPTS or self._way.stop.wait(PAUSE_SECONDS * tries):
                    raise

    def _read_from(self, at: int) -> Iterator[bytes]:
        if at and at == self._load.size:
            return
        with _naming_the_copy():
            stream = s3.stream(self._load.key, start=at, store=self._way.source)
        if stream is None:
            raise CannotMove("missing")
        with stream:
            if self._load.etag and not self._load.checksum and stream.etag != self._load.etag:
                raise CannotMove("changed")
            for chunk in stream.chunks(CHUNK_BYTES):
                if self._way.stop.is_set():
                    raise Stopped
                self._way.pace(len(chunk))
                yield chunk
