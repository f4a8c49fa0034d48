"""Copy one object to the main store and verify the copy. Uses no database."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from tempfile import SpooledTemporaryFile
from typing import IO

from uploads import parts, s3
from uploads.errors import ObjectRefused, StorageUnavailable
from uploads.keys import ROW_KEY

MAX_BYTES_IN_MEMORY = 64 * 1024**2  # larger parts are buffered on disk until their digest is known


class CannotMove(Exception):
    """The object cannot be moved: it is `missing`, `corrupted`, or `changed` since its import, its key
    is `taken` by another program's object in the main store, or its store refuses it (models.Refusal)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CopyJob:
    """An object to copy.

    `checksum` and `etag` are the row's, empty if unknown; `content_encoding` is None if a HEAD request must find it
    out; `any_content` accepts bytes that differ from the checksum.
    """

    key: str
    size: int
    part_size: int
    checksum: str = ""
    etag: str = ""
    content_encoding: str | None = ""
    any_content: bool = False


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The object in the main store. `checked`: the storage verified the bytes on arrival, and keeps the checksum."""

    etag: str
    checksum: str
    checked: bool
    content_encoding: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Source and target store, the installation that tags copies, and the limiter of the run."""

    source: str
    target: str
    installation_id: str
    limiter: s3.RateLimiter


def copy_object(job: CopyJob, route: Route) -> CopyResult:
    """Copy an object and verify the copy. Safe to repeat: an existing copy is replaced.

    Raises CannotMove, StorageUnavailable (also if the copy is wrong), and s3.ReadStopped; no parts remain then.
    """
    route.limiter.require_running()
    lengths = _lengths(job)
    if_none_match = _require_free(job, route)
    job = _with_encoding(job, route)
    if len(lengths) > 1:
        for upload_id in s3.multipart_ids(job.key, store=route.target):  # left by a run that was killed
            s3.abort_multipart(job.key, upload_id, store=route.target)
    with _translate_refusal():
        copied = s3.copy_within(
            job.key, lengths=lengths, tag=_tag(job, route), source=route.source, target=route.target,
            content_encoding=job.content_encoding or "", once=if_none_match,
        )  # fmt: skip
    if copied and (result := _verified_copy(job, route)):
        return result
    if not copied and if_none_match:  # perhaps the key has been taken since
        _require_free(job, route)
    try:
        return _stream_copy(job, route, lengths, if_none_match=if_none_match)
    except CannotMove:
        if copied:
            s3.delete(job.key, store=route.target)
        raise


@contextlib.contextmanager
def _translate_refusal() -> Iterator[None]:
    try:
        yield
    except ObjectRefused as fault:
        raise CannotMove(fault.reason) from None


def _lengths(job: CopyJob) -> list[int]:
    """Return the part lengths of the row, which its composite checksum depends on."""
    size, part_size = job.size, job.part_size
    count = parts.part_count(size, part_size)
    return [parts.part_length(number, size=size, part_size=part_size) for number in range(1, count + 1)]


def _require_free(job: CopyJob, route: Route) -> bool:
    """Raise CannotMove if another program's object has this key in the main store.

    Return whether the copy must be written with If-None-Match: not for keys that Amalga generated, nor over the copy
    of a run that was killed.
    """
    if ROW_KEY.fullmatch(job.key):
        return False
    existing = s3.copy_tag(job.key, store=route.target)
    if existing is not None and existing.by != route.installation_id:
        raise CannotMove("taken")
    return existing is None


def _with_encoding(job: CopyJob, route: Route) -> CopyJob:
    if job.content_encoding is not None:
        return job
    with _translate_refusal():
        existing = s3.head(job.key, store=route.source)  # a missing object is detected when it is read
    return replace(job, content_encoding=existing.content_encoding if existing else "")


def _tag(job: CopyJob, route: Route) -> s3.CopyTag:
    return s3.CopyTag(route.installation_id, job.etag)


def _verified_copy(job: CopyJob, route: Route) -> CopyResult | None:
    """Return the storage's own copy, or None unless it is provably right."""
    copy = s3.head(job.key, store=route.target)
    if copy is None or copy.size != job.size:
        return None
    checksum = job.checksum or copy.checksum
    if copy.checksum == checksum if copy.checksum else copy.etag == job.etag:
        return CopyResult(copy.etag, checksum or "", bool(copy.checksum), job.content_encoding or "")
    return None


def _stream_copy(job: CopyJob, route: Route, lengths: list[int], *, if_none_match: bool) -> CopyResult:
    with contextlib.closing(_SourceReader(job, route)) as source:
        if len(lengths) == 1:
            _send_whole(job, route, source, if_none_match=if_none_match)
        else:
            _send_parts(job, route, source, lengths, if_none_match=if_none_match)
    copy, checksum = s3.head(job.key, store=route.target), source.checksum
    if copy is None or copy.size != job.size or copy.checksum not in {None, checksum}:
        raise StorageUnavailable("HeadObject: the copy differs from the original")
    return CopyResult(copy.etag, checksum, copy.checksum is not None, job.content_encoding or "")


def _send_whole(job: CopyJob, route: Route, source: _SourceReader, *, if_none_match: bool) -> None:
    with source.part(job.size) as (body, digests):
        source.require_match()
        s3.put_file(
            job.key, body, digests=digests, store=route.target, tag=_tag(job, route),
            content_encoding=job.content_encoding or "", once=if_none_match,
        )  # fmt: skip


def _send_parts(job: CopyJob, route: Route, source: _SourceReader, lengths: list[int], *, if_none_match: bool) -> None:
    upload_id = s3.create_multipart(
        job.key, metadata=_tag(job, route).metadata(), content_encoding=job.content_encoding or "", store=route.target
    )
    uploaded: list[s3.UploadedPart] = []
    try:
        for number, length in enumerate(lengths, start=1):
            with source.part(length) as (body, pair):
                uploaded.append(
                    s3.put_part(job.key, upload_id, number, body, digests=pair, length=length, store=route.target)
                )
        source.require_match()
        if not s3.complete_multipart(
            job.key, upload_id, uploaded, size=job.size, store=route.target, profile="bulk", once=if_none_match
        ):
            raise StorageUnavailable("CompleteMultipartUpload: no such upload, or the object exists")
    except BaseException:
        with contextlib.suppress(StorageUnavailable):  # the next run aborts it
            s3.abort_multipart(job.key, upload_id, store=route.target)
        raise


class _SourceReader:
    """Reads the object in the other store, part by part, and computes the digests of its parts. It must be closed."""

    def __init__(self, job: CopyJob, route: Route) -> None:
        self._job = job
        self._md5 = not s3.keeps_digests(route.target)
        etag = "" if job.checksum else job.etag
        self._reader = s3.ObjectReader(job.key, etag=etag, store=route.source, limiter=route.limiter)
        self._chunks = self._read()
        self._buffer = memoryview(b"")
        self._hash = parts.CompositeHash(job.part_size)

    @property
    def checksum(self) -> str:
        return self._hash.checksum

    def close(self) -> None:
        self._chunks.close()

    @contextlib.contextmanager
    def part(self, length: int) -> Iterator[tuple[IO[bytes], tuple[str, str]]]:
        """Yield the next `length` bytes as a file, with their base64 SHA-256 and MD5. Raises CannotMove for fewer."""
        md5 = hashlib.md5(usedforsecurity=False)
        with SpooledTemporaryFile(max_size=MAX_BYTES_IN_MEMORY) as body:
            while length:
                piece = self._take(length)
                length -= len(piece)
                self._hash.update(piece)
                if self._md5:
                    md5.update(piece)
                body.write(piece)
            body.seek(0)
            self._hash.finish()
            yield body, (self._hash.digests[-1], base64.b64encode(md5.digest()).decode())

    def require_match(self) -> None:
        """Raise CannotMove unless all bytes were read and match the row's checksum, if it has one."""
        if self._buffer or next(self._chunks, None) is not None:
            raise CannotMove("corrupted")
        job = self._job
        if job.checksum and not job.any_content and self.checksum != job.checksum:
            raise CannotMove("corrupted")

    def _take(self, limit: int) -> memoryview:
        if not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise CannotMove("corrupted")
            self._buffer = memoryview(chunk)
        piece, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return piece

    def _read(self) -> Generator[bytes]:
        try:
            with _translate_refusal():
                yield from self._reader.chunks()
        except s3.NoSuchObject:
            raise CannotMove("missing") from None
        except s3.EtagMismatch:
            raise CannotMove("changed") from None
