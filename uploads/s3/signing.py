"""Signed URLs that say exactly what may be sent: how many bytes and, where the store checks, which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django.conf import settings

from uploads.s3.client import client, keeps_digests, seconds_of_credentials, told_plainly

URL_SECONDS = 600
OCTET_STREAM = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Signed:
    """A URL to PUT one part to, and the headers to send with it, no more and no fewer.

    The browser adds Content-Length by itself; it is signed as well.
    """

    number: int
    url: str
    headers: dict[str, str]


def lifetime(seconds: int) -> int:
    """At most `seconds`, and never longer than the credentials live: the store checks both."""
    left = seconds_of_credentials()
    return seconds if left is None else max(1, min(seconds, int(left)))


def sign_put(key: str, *, size: int, sha256: str | None) -> Signed:
    """A URL that stores `size` bytes under `key`, once where the store can refuse a second time."""
    params: dict[str, Any] = {"ContentType": OCTET_STREAM}
    headers = {"Content-Type": OCTET_STREAM}
    if keeps_digests():
        params["IfNoneMatch"] = headers["If-None-Match"] = "*"
    url = _sign("put_object", params, headers, key=key, size=size, sha256=sha256)
    return Signed(1, url, headers)


def sign_part(key: str, multipart_id: str, number: int, *, size: int, sha256: str | None) -> Signed:
    params: dict[str, Any] = {"UploadId": multipart_id, "PartNumber": number}
    headers: dict[str, str] = {}
    url = _sign("upload_part", params, headers, key=key, size=size, sha256=sha256)
    return Signed(number, url, headers)


def _sign(
    operation: Literal["put_object", "upload_part"],
    params: dict[str, Any],
    headers: dict[str, str],
    *,
    key: str,
    size: int,
    sha256: str | None,
) -> str:
    if keeps_digests():
        params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = sha256 or ""
    with told_plainly("Sign"):  # credentials of a role are fetched anew when they run out
        return client().generate_presigned_url(
            operation,
            Params={"Bucket": settings.S3_BUCKET, "Key": key, "ContentLength": size, **params},
            ExpiresIn=lifetime(URL_SECONDS),
        )
