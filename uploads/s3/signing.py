"""Presigned requests: uploads of exactly one length and, where the storage verifies, exactly these bytes; and downloads
with the response headers that we set.
"""

from __future__ import annotations

import functools
import logging
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, Literal, cast
from urllib.parse import quote, urlencode

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.signers import CloudFrontSigner
from django.conf import settings
from django.core.files.storage import storages
from storages.backends.s3 import S3Storage

from uploads.errors import StorageUnavailable
from uploads.s3.client import (
    OCTET_STREAM,
    OWNER,
    Store,
    client,
    config,
    credentials,
    forget_clients,
    http,
    main_store,
    seconds_of_credentials,
    session,
    store_named,
)
from uploads.s3.errors import log_error, translate_errors
from uploads.s3.objects import readable_stores

logger = logging.getLogger(__name__)

URL_SECONDS = 600
PAYLOAD_HASH = "x-amz-content-sha256"
DOWNLOAD_SECONDS = 300
# Every header that a store keeps from a PUT and returns with a GET (S3 API, "GetObject"), except the two that depend on
# the file. A presigned PUT leaves all but Content-Type to the sender. `identity` is "no encoding" (RFC 9110, 8.4.1):
# a browser saves the stored bytes, whatever encoding the object declares.
FIXED = {
    "response-cache-control": "private, no-store",
    "response-content-encoding": "identity",
    "response-content-language": "und",
    "response-expires": "Thu, 01 Jan 1970 00:00:00 GMT",
}
# With a long name the URL leaves out the headers without effect, so that the redirect fits into the buffers of proxies:
# no-store overrides Expires (RFC 9111, 5.2.2.5), and browsers ignore the language of a download.
WITHOUT_EFFECT = {"response-content-language", "response-expires"}
MAX_CHARACTERS_WITH_ALL = 1_000  # of the disposition
# Within one window a preview has one URL, so that browsers can cache it; it is valid for two windows.
WINDOW_SECONDS = 900


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
    (`FIXED`).
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


class DownloadStorage(S3Storage):  # type: ignore[misc]  # storages has no types
    """django-storages for our bucket: `url()` signs downloads for S3 or, if configured, for CloudFront."""

    def __init__(self, store: Store | None = None, **options: Any) -> None:
        self.store = store or main_store()
        super().__init__(**options)

    def get_default_settings(self) -> dict[str, Any]:
        at = self.store
        own_keys = {"access_key": at.access_key_id, "secret_key": at.secret_access_key, "security_token": None}
        return cast(dict[str, Any], super().get_default_settings()) | {
            "bucket_name": at.bucket,
            "endpoint_url": at.endpoint,
            "region_name": at.region,
            "client_config": config(at),
            "default_acl": None,
            "file_overwrite": False,
            "querystring_expire": DOWNLOAD_SECONDS,
            **(own_keys if at.access_key_id else {}),
        }

    @property
    def connection(self) -> Any:
        """The client that the whole process shares: django-storages would create one for each thread that signs."""
        return SimpleNamespace(meta=SimpleNamespace(client=client("quick", self.store)))

    @property
    def bucket(self) -> Any:
        return SimpleNamespace(name=self.bucket_name)

    @property
    def is_behind_cloudfront(self) -> bool:
        return bool(self.custom_domain and self.cloudfront_signer)

    def url(self, name: str, parameters: Mapping[str, str] | None = None, expire: int = DOWNLOAD_SECONDS) -> str:
        """Return a URL signed as of now. Parameters have S3's names of the response headers (S3 API, "GetObject").

        A key that django-storages would clean (`a//b`), as an imported file can have, is signed unchanged.
        """
        return self.url_since(name, parameters=parameters or {}, since=datetime.now(UTC), seconds=expire)

    def url_since(self, name: str, *, parameters: Mapping[str, str], since: datetime, seconds: int) -> str:
        """Return a URL signed as of `since`: the same arguments give the same URL."""
        if self.is_behind_cloudfront:
            return self._by_cloudfront(name, parameters, since + timedelta(seconds=seconds))
        return sign_get_at(name, parameters, since=since, seconds=seconds, store=self.store.name)

    def valid_seconds(self, seconds: int) -> int:
        """Return how many of these seconds a URL can be valid: not longer than the credentials that sign it."""
        return seconds if self.is_behind_cloudfront else expires_in(seconds, self.store)

    def _by_cloudfront(self, key: str, parameters: Mapping[str, str], until: datetime) -> str:
        return sign_for_cloudfront(self.cloudfront_signer, self.custom_domain, key, parameters, until=until)


@functools.cache
def download_storage(store: Store) -> DownloadStorage:
    """Return the storage of the settings, created here so that `reset` can clear it. The options of the settings, such
    as a CloudFront domain, apply to the main store only: S3 delivers from other stores."""
    if store == main_store():
        return cast(DownloadStorage, storages.create_storage(settings.STORAGES["default"]))
    return DownloadStorage(store, custom_domain=None)


def download_url(key: str, *, disposition: str, content_type: str, store: str | None = None) -> str:
    """Return a URL, valid for at most five minutes, of the object's stored bytes with exactly these headers."""
    omitted = WITHOUT_EFFECT if len(disposition) > MAX_CHARACTERS_WITH_ALL else set()
    fixed = {name: value for name, value in FIXED.items() if name not in omitted}
    parameters = {**fixed, "response-content-disposition": disposition, "response-content-type": content_type}
    with translate_errors("Sign"):
        storage = download_storage(store_named(store))
        return storage.url(key, parameters=parameters, expire=storage.valid_seconds(DOWNLOAD_SECONDS))


def preview_url(key: str, *, content_type: str, now: datetime | None = None, store: str | None = None) -> str:
    """Return the URL of a preview: the same for 15 minutes, valid for another 15. Its headers let the person's browser,
    but no proxy, cache it until the URL expires."""
    now = now or datetime.now(UTC)
    since = datetime.fromtimestamp(now.timestamp() // WINDOW_SECONDS * WINDOW_SECONDS, UTC)
    with translate_errors("Sign"):
        storage = download_storage(store_named(store))
        # two windows, or less where the credentials expire sooner: the URL changes then, with the role's new ones
        seconds = min(
            2 * WINDOW_SECONDS, int((now - since).total_seconds()) + storage.valid_seconds(2 * WINDOW_SECONDS)
        )
        parameters = {
            "response-cache-control": "private",
            "response-content-disposition": "inline",
            "response-content-type": content_type,
            "response-expires": format_datetime(since + timedelta(seconds=seconds), usegmt=True),
        }
        return storage.url_since(key, parameters=parameters, since=since, seconds=seconds)


def reset() -> None:
    """Drop every client, after settings changed (in tests) or a process forked."""
    forget_clients()
    for cached in (session, http, bucket_url, download_storage):
        cached.cache_clear()
    readable_stores.clear()


def sign_for_cloudfront(
    signer: CloudFrontSigner, domain: str, key: str, parameters: Mapping[str, str], *, until: datetime
) -> str:
    """Return a URL of this object with these headers only, valid until `until`: a canned policy signs all of it."""
    query = urlencode(sorted(parameters.items()), quote_via=quote)
    unsigned_url = f"https://{domain}/{quote(key, safe='/~')}?{query}"
    return signer.generate_presigned_url(unsigned_url, date_less_than=until)
