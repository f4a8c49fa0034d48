"""Streaming reads of objects, which resume after a broken connection, at a limited rate."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Self

import urllib3

from uploads.content_headers import normalize_encoding
from uploads.errors import StorageDenied, StorageUnavailable
from uploads.s3.client import (
    BATCH_READ_SECONDS,
    CONNECT_SECONDS,
    OWN_URL_SECONDS,
    READ_SECONDS,
    client,
    http,
    require_no_transaction,
    store_named,
)
from uploads.s3.errors import is_archived, translate_errors
from uploads.s3.objects import CONTENT_RANGE, refused_object, whole_size

CHUNK_BYTES = 1024**2
MIN_CHUNK_BYTES = 16 * 1024
MAX_ATTEMPTS = 4  # without a byte in between
PAUSE_SECONDS = 0.5
SLICE_SECONDS = 0.2
TIMEOUT = urllib3.Timeout(connect=CONNECT_SECONDS, read=BATCH_READ_SECONDS)
QUICK = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)  # a person waits for it
MAX_ERROR_BYTES = 8192


class Stream:
    """The bytes of an object from `start` on. A context manager; otherwise close it."""

    def __init__(self, response: urllib3.BaseHTTPResponse, start: int = 0) -> None:
        self._response = response
        self._start = start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def size(self) -> int:
        """The size of the whole object in bytes."""
        return whole_size(self._response.headers)

    @property
    def etag(self) -> str:
        return self._response.headers["ETag"].strip('"')

    @property
    def is_archived(self) -> bool:
        """Whether the storage restored this copy from an archive temporarily."""
        return is_archived(self._response.headers)

    @property
    def content_encoding(self) -> str:
        """The encoding, normalized by `normalize_encoding`."""
        return normalize_encoding(self._response.headers.get("Content-Encoding", ""))

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield chunks of at most `size` bytes. Raises StorageUnavailable when the body ends early; a body that is
        longer than the object ends with the chunk that exceeds its size."""
        remaining = self.size - self._start
        with translate_errors("GetObject"):
            while remaining >= 0 and (chunk := self._response.read(size)):
                remaining -= len(chunk)
                yield chunk

    def close(self) -> None:
        """Close the response. After a complete read, its connection goes back to the pool."""
        if getattr(self._response, "length_remaining", None) != 0:
            self._response.close()
        self._response.release_conn()


def stream(key: str, *, start: int = 0, store: str | None = None) -> Stream | None:
    """Open an object at byte `start`; None if there is none.

    Raises StorageUnavailable, StorageDenied, ObjectRefused.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    response = _get(key, headers, store)
    if response.status in {200, 206} and "ETag" in response.headers and _begins_at(response, start):
        return Stream(response, start)
    _require_absence(response, store)
    return None


class NoSuchObject(Exception):
    """The storage says that there is no object with this key."""


class EtagMismatch(Exception):
    """The storage has another object under this key than the expected one."""


class ReadStopped(Exception):
    """The run was asked to stop: partly read objects have no result."""


class RateLimiter:
    """Limits all threads to `rate` bytes per second and counts the bytes. Raises ReadStopped once `stop` is true."""

    def __init__(self, rate: int | None = None, *, stop: Callable[[], bool] = lambda: False) -> None:
        self.bytes = 0
        # Below a few megabytes per second chunks are smaller, so that no connection idles for long.
        self.chunk_bytes = CHUNK_BYTES if rate is None else max(MIN_CHUNK_BYTES, min(CHUNK_BYTES, rate // 4))
        self._rate = rate
        self._stop = stop
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def require_running(self) -> None:
        if self._stop():
            raise ReadStopped

    def spend(self, count: int) -> None:
        """Count these bytes, and wait until they fit the rate."""
        with self._lock:
            self.bytes += count
            if self._rate:
                self._free_at = max(self._free_at, time.monotonic()) + count / self._rate
            until = self._free_at
        self._wait_until(until)

    def sleep(self, seconds: float) -> None:
        self._wait_until(time.monotonic() + seconds)

    def _wait_until(self, until: float) -> None:
        self.require_running()
        while (seconds := until - time.monotonic()) > 0:
            time.sleep(min(SLICE_SECONDS, seconds))
            self.require_running()


class ObjectReader:
    """Reads an object from byte `start` to its end; after a broken connection it resumes where it was.

    `position` is the next byte, `response` the latest response, with the size and the headers of the object.
    """

    def __init__(
        self, key: str, *, start: int = 0, etag: str = "", store: str | None = None, limiter: RateLimiter | None = None
    ) -> None:
        self.position = start
        self.response: Stream | None = None
        self._key = key
        self._etag = etag
        self._store = store
        self._limiter = limiter or RateLimiter()

    def chunks(self, size: int | None = None) -> Generator[bytes]:
        """Yield chunks of at most `size` bytes, by default as many as fit the rate. Close it unless it is read to its
        end. An object that is longer than its declared size ends with the chunk that exceeds it.

        Raises NoSuchObject; EtagMismatch for another object than that with `etag`, if given; StorageDenied,
        ObjectRefused; StorageUnavailable after several attempts without a byte in between; and Stopped.
        """
        attempts = 0
        while True:
            position = self.position
            try:
                yield from self._read(size or self._limiter.chunk_bytes)
                return
            except StorageUnavailable as fault:
                attempts = 1 if self.position > position else attempts + 1
                if isinstance(fault, StorageDenied) or attempts >= MAX_ATTEMPTS:
                    raise
            self._limiter.sleep(PAUSE_SECONDS * attempts)

    def _read(self, size: int) -> Iterator[bytes]:
        if self.response is not None and 0 < self.position == self.response.size:
            return  # all bytes came, only the end of the response did not
        response = stream(self._key, start=self.position, store=self._store)
        if response is None:
            raise NoSuchObject
        with response:
            self.response = response
            if self._etag and response.etag != self._etag:
                raise EtagMismatch
            for chunk in response.chunks(size):
                self._limiter.spend(len(chunk))
                self.position += len(chunk)
                yield chunk
        if self.position < response.size:
            raise StorageUnavailable("GetObject: ended early")


def read(key: str, *, store: str | None = None) -> Iterator[bytes] | None:
    """Return the bytes of an object in chunks of at most 1 MiB; None if there is none. Raises as `stream` does."""
    source = stream(key, store=store)
    return None if source is None else _chunks(source)


def require_readable(key: str, *, size: int, store: str | None = None) -> bool:
    """Return whether the object is temporarily restored from an archive, by reading its first byte.

    Raises ObjectRefused if the storage denies it, and StorageUnavailable. False for a missing object.
    """
    response = _get(key, {"Range": "bytes=0-0"} if size else {}, store, timeout=QUICK)
    if response.status == 416 or (response.status in {200, 206} and "ETag" in response.headers):
        response.close()
        return is_archived(response.headers)
    _require_absence(response, store)
    return False


def read_start(key: str, *, max_bytes: int, store: str | None = None) -> bytes | None:
    """Return the first `max_bytes` of an object that is not empty, or all of a shorter one; None if there is none."""
    response = _get(key, {"Range": f"bytes=0-{max_bytes - 1}"}, store)
    with contextlib.closing(response):
        if response.status in {200, 206} and "ETag" in response.headers:
            with translate_errors("GetObject"):
                return response.read(max_bytes)
        _require_absence(response, store)
        return None


def _get(
    key: str, headers: dict[str, str], store: str | None, *, timeout: urllib3.Timeout | None = None
) -> urllib3.BaseHTTPResponse:
    at = store_named(store)
    require_no_transaction()
    with translate_errors("GetObject"):
        url = client("quick", at).generate_presigned_url(
            "get_object", Params={"Bucket": at.bucket, "Key": key}, ExpiresIn=OWN_URL_SECONDS
        )
        return http().request("GET", url, headers=headers, preload_content=False, timeout=timeout or TIMEOUT)


def _chunks(source: Stream) -> Iterator[bytes]:
    with source:
        yield from source.chunks(CHUNK_BYTES)


def _require_absence(response: urllib3.BaseHTTPResponse, store: str | None) -> None:
    """Return if the response says that the object does not exist; raise its error otherwise."""
    with contextlib.closing(response):
        body = _error_body(response)
    if response.status != 404 or b"NoSuchKey" not in body:
        raise refused_object("GetObject", response, body, store_named(store))


def _error_body(response: urllib3.BaseHTTPResponse) -> bytes:
    with translate_errors("GetObject"):
        return response.read(MAX_ERROR_BYTES)


def _begins_at(response: urllib3.BaseHTTPResponse, start: int) -> bool:
    """Return whether the body begins at `start`. Some stores send a range with status 200, others the whole object."""
    if not start:
        return True
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return match is not None and int(match["first"]) == start
