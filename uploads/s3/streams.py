"""Reading objects as they come: from any byte on, with a connection that may break and be made anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import urllib3

from uploads.content_encoding import normalize
from uploads.s3.client import (
    BATCH_READ_SECONDS,
    CONNECT_SECONDS,
    READ_SECONDS,
    client,
    http,
    require_no_transaction,
    translate_errors,
)
from uploads.s3.objects import CONTENT_RANGE, whole_size
from uploads.s3.refusals import is_archived, refused_object
from uploads.s3.stores import store_named

CHUNK_BYTES = 1024**2
SIGNED_SECONDS = 60  # the store asks for the signature once, at the beginning of an answer
TIMEOUT = urllib3.Timeout(connect=CONNECT_SECONDS, read=BATCH_READ_SECONDS)
QUICK = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)  # a person waits for it
MAX_ERROR_BYTES = 8192


class Stream:
    """The bytes of an object from `start` on. To be closed, or used with `with`."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, start: int = 0) -> None:
        self._answer = answer
        self._start = start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Of the whole object, in bytes."""
        return whole_size(self._answer.headers)

    @property
    def etag(self) -> str:
        return self._answer.headers["ETag"].strip('"')

    @property
    def is_archived(self) -> bool:
        """Whether this is a copy that the store restored from an archive, for a while."""
        return is_archived(self._answer.headers)

    @property
    def content_encoding(self) -> str:
        """As `content_encoding.normalize` has it."""
        return normalize(self._answer.headers.get("Content-Encoding", ""))

    def chunks(self, size: int) -> Iterator[bytes]:
        """In pieces of at most `size` bytes. Raises StorageUnavailable when they end early; a body that is longer than
        the object ends with the piece that goes past its size."""
        left = self.size - self._start
        with translate_errors("GetObject"):
            while left >= 0 and (chunk := self._answer.read(size)):
                left -= len(chunk)
                yield chunk

    def close(self) -> None:
        """A connection whose answer was read to its end serves the next one."""
        if getattr(self._answer, "length_remaining", None) != 0:
            self._answer.close()
        self._answer.release_conn()


def stream(key: str, *, start: int = 0, store: str | None = None) -> Stream | None:
    """An object from byte `start` on; None if there is none. Raises StorageUnavailable, StorageDenied,
    ObjectRefused."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    answer = _get(key, headers, store)
    if answer.status in {200, 206} and "ETag" in answer.headers and _begins_at(answer, start):
        return Stream(answer, start)
    _require_absence(answer, store)
    return None


def read(key: str, *, store: str | None = None) -> Iterator[bytes] | None:
    """The bytes of an object in chunks of at most 1 MiB; None if there is none. Raises as `stream` does."""
    opened = stream(key, store=store)
    return None if opened is None else _whole(opened)


def require_readable(key: str, *, size: int, store: str | None = None) -> bool:
    """Return whether the object is in an archive, restored for a while, by reading its first byte.

    Raises ObjectRefused where the store does not give it, and StorageUnavailable. Of one that is not there, False.
    """
    answer = _get(key, {"Range": "bytes=0-0"} if size else {}, store, timeout=QUICK)
    if answer.status == 416 or (answer.status in {200, 206} and "ETag" in answer.headers):
        answer.close()
        return is_archived(answer.headers)
    _require_absence(answer, store)
    return False


def read_start(key: str, *, most: int, store: str | None = None) -> bytes | None:
    """The first `most` bytes of an object that is not empty, or all, if it is shorter; None if there is none."""
    answer = _get(key, {"Range": f"bytes=0-{most - 1}"}, store)
    with contextlib.closing(answer):
        if answer.status in {200, 206} and "ETag" in answer.headers:
            with translate_errors("GetObject"):
                return answer.read(most)
        _require_absence(answer, store)
        return None


def _get(
    key: str, headers: dict[str, str], store: str | None, *, timeout: urllib3.Timeout | None = None
) -> urllib3.BaseHTTPResponse:
    at = store_named(store)
    require_no_transaction()
    with translate_errors("GetObject"):
        url = client("quick", at).generate_presigned_url(
            "get_object", Params={"Bucket": at.bucket, "Key": key}, ExpiresIn=SIGNED_SECONDS
        )
        return http().request("GET", url, headers=headers, preload_content=False, timeout=timeout or TIMEOUT)


def _whole(opened: Stream) -> Iterator[bytes]:
    with opened:
        yield from opened.chunks(CHUNK_BYTES)


def _require_absence(answer: urllib3.BaseHTTPResponse, store: str | None) -> None:
    """Return where there is no such object; raise what is wrong otherwise."""
    with contextlib.closing(answer):
        words = _words(answer)
    if answer.status != 404 or b"NoSuchKey" not in words:
        raise refused_object("GetObject", answer, words, store_named(store))


def _words(answer: urllib3.BaseHTTPResponse) -> bytes:
    with translate_errors("GetObject"):
        return answer.read(MAX_ERROR_BYTES)


def _begins_at(answer: urllib3.BaseHTTPResponse, start: int) -> bool:
    """Some stores send a range with status 200; one that sends all from the beginning does not do."""
    if not start:
        return True
    told = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return told is not None and int(told["first"]) == start
