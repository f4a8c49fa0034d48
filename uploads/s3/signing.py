"""Presigned requests that allow exactly one upload: how many bytes and, where the storage verifies, which bytes."""

from __future__ import annotations

import functools
import logging
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urlencode

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from uploads.errors import StorageUnavailable
from uploads.s3.client import OWNER, client, credentials, seconds_of_credentials
from uploads.s3.errors import log_error, translate_errors
from uploads.s3.stores import Store, store_named

logger = logging.getLogger(__name__)

URL_SECONDS = 600
PAYLOAD_HASH = "x-amz-content-sha256"
OCTET_STREAM = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class PresignedRequest:
    """A URL to PUT one part to, and the headers to send with it, no more and no fewer.

    The browser adds Content-Length by itself; it is signed as well.
    """

    number: int
    url: str
    headers: dict[str, str]


def expires_in(seconds: int, store: Store) -> int:
    """Return `seconds`, or less if the credentials expire sooner: the storage checks both.

    Raises StorageUnavailable for expired credentials.
    """
    remaining = seconds_of_credentials(store, limit=seconds)
    if remaining is not None and remaining < 1:
        log_error("Sign", "ExpiredCredentials")
        raise StorageUnavailable("Sign: ExpiredCredentials")
    return seconds if remaining is None else remaining


def sign_put(key: str, *, size: int, sha256: str | None, store: str | None = None) -> PresignedRequest:
    """Return a URL that stores `size` bytes under `key`, only once where the storage supports that.

    The sender may add Cache-Control, Content-Disposition, Content-Encoding, Content-Language and Expires, and the
    storage keeps them: it requires signatures of `host` and `x-amz-*` alone (S3 API, "Authenticating requests: using
    query parameters"), a signature can require a header but not forbid one, and bucket policies have no condition key
    for these. So an object with an encoding is rejected at completion, and downloads override all of them
    (`downloads.FIXED`).
    """
    return sign_put_at(store_named(store), key, size=size, sha256=sha256)


def sign_put_at(at: Store, key: str, *, size: int, sha256: str | None) -> PresignedRequest:
    params: dict[str, Any] = {"ContentType": OCTET_STREAM}
    headers = {"Content-Type": OCTET_STREAM}
    if at.keeps_digests:
        params["IfNoneMatch"] = headers["If-None-Match"] = "*"
    if at.signs_payloads:
        url = _sign_payload({}, headers, at, key=key, size=size, sha256=sha256 or "")
    else:
        url = _sign("put_object", params, headers, at, key=key, size=size, sha256=sha256)
    return PresignedRequest(1, url, headers)


def sign_part(
    key: str, multipart_id: str, number: int, *, size: int, sha256: str | None, store: str | None = None
) -> PresignedRequest:
    return sign_part_at(store_named(store), key, multipart_id, number, size=size, sha256=sha256)


def sign_part_at(
    at: Store, key: str, multipart_id: str, number: int, *, size: int, sha256: str | None
) -> PresignedRequest:
    headers: dict[str, str] = {}
    if at.signs_payloads:
        query = {"partNumber": str(number), "uploadId": multipart_id}
        url = _sign_payload(query, headers, at, key=key, size=size, sha256=sha256 or "")
    else:
        params: dict[str, Any] = {"UploadId": multipart_id, "PartNumber": number}
        url = _sign("upload_part", params, headers, at, key=key, size=size, sha256=sha256)
    return PresignedRequest(number, url, headers)


def sign_get_at(
    key: str, parameters: Mapping[str, str], *, since: datetime, seconds: int, store: str | None = None
) -> str:
    """Return a URL to GET an object for `seconds` after `since`, also in the past: the same for the same arguments.

    boto3's clients always sign as of now, and take twice the CPU time: they validate parameters and resolve the
    endpoint for each URL. This makes the same signature of the public steps of botocore's signer (S3 API,
    "Authenticating requests: using query parameters").
    """
    at = store_named(store)
    frozen = credentials(at).get_frozen_credentials()
    signer = S3SigV4QueryAuth(frozen, "s3", client("quick", at).meta.region_name)
    request = AWSRequest("GET", object_url(key, at))
    request.context["timestamp"] = timestamp = since.strftime(SIGV4_TIMESTAMP)
    token = {"X-Amz-Security-Token": frozen.token} if frozen.token else {}
    owner = {OWNER: at.bucket_owner} if at.bucket_owner else {}
    query = {
        **parameters, **owner, "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": signer.scope(request),
        "X-Amz-Date": timestamp, "X-Amz-Expires": str(seconds), "X-Amz-SignedHeaders": "host", **token,
    }  # fmt: skip
    request.url = f"{request.url}?{urlencode(sorted(query.items()), quote_via=quote, safe='')}"
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return f"{request.url}&X-Amz-Signature={signature}"


def object_url(key: str, at: Store) -> str:
    """Return the object's URL at its store, without a query."""
    return bucket_url(at) + quote(key, safe="/~")


@functools.cache
def bucket_url(at: Store) -> str:
    """Return what comes before the key in the URLs of a store, as boto3 resolves its endpoint and addressing."""
    url = client("quick", at).generate_presigned_url("get_object", Params={"Bucket": at.bucket, "Key": "key"})
    return url.partition("?")[0].removesuffix("key")


def _sign_payload(
    query: dict[str, str], headers: dict[str, str], at: Store, *, key: str, size: int, sha256: str
) -> str:
    """Sign a PUT with the hash of its body, which a client leaves unsigned, in the URL and in a signed header: some
    stores check the one, some the other (S3 API, "Create a signed AWS API request")."""
    headers[PAYLOAD_HASH] = b64decode(sha256).hex()
    query = {**query, "X-Amz-Content-Sha256": headers[PAYLOAD_HASH]}
    if at.bucket_owner:
        query[OWNER] = at.bucket_owner
    signed_headers = {**headers, "Content-Length": str(size)}
    with translate_errors("Sign"):
        request = AWSRequest("PUT", f"{object_url(key, at)}?{urlencode(query)}", headers=signed_headers)
        frozen, region = credentials(at).get_frozen_credentials(), client("quick", at).meta.region_name
        S3SigV4QueryAuth(frozen, "s3", region, expires=expires_in(URL_SECONDS, at)).add_auth(request)
    return str(request.url)


def _sign(
    operation: Literal["put_object", "upload_part"],
    params: dict[str, Any],
    headers: dict[str, str],
    at: Store,
    *,
    key: str,
    size: int,
    sha256: str | None,
) -> str:
    if at.keeps_digests:
        params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = sha256 or ""
    with translate_errors("Sign"):  # credentials of a role are renewed when they expire
        return client("quick", at).generate_presigned_url(
            operation,
            Params={"Bucket": at.bucket, "Key": key, "ContentLength": size, **params},
            ExpiresIn=expires_in(URL_SECONDS, at),
        )
