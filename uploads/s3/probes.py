"""Probes of access to the bucket: credentials, endpoint, CloudFront, CORS and anonymous requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from django.conf import settings

from uploads.keys import MARKER_KEY
from uploads.s3.client import client, http, main_store, seconds_of_credentials, session_of
from uploads.s3.errors import S3ResponseError, raw_call
from uploads.s3.objects import NEVER_USED
from uploads.s3.signing import FIXED, bucket_url, download_url, object_url

MAX_CREDENTIAL_HOURS = 36  # IAM user guide, "GetSessionToken": no temporary credentials last longer


@dataclass(frozen=True)
class Credentials:
    """The credentials in use. `source` is botocore's name, `profile` that of AWS's files. `temporary`: session token.

    `seconds_left`: until they expire, if boto3 renews them by itself; None for others.
    """

    source: str
    profile: str
    temporary: bool
    seconds_left: int | None


def credentials_in_use() -> Credentials | None:
    """Return the credentials that boto3 finds; None without any. Raises S3ResponseError if a source is unavailable."""
    with raw_call("GetCredentials"):
        session = session_of(main_store())
        source = session.get_credentials()
        if source is None:
            return None
        try:
            frozen = source.get_frozen_credentials()
        except RuntimeError:  # botocore has no class of its own for it
            raise S3ResponseError("GetCredentials", "EXPIRED") from None
    if not frozen.access_key or not frozen.secret_key:
        raise S3ResponseError("GetCredentials", "PartialCredentialsError")
    seconds_left = seconds_of_credentials(limit=MAX_CREDENTIAL_HOURS * 3600)
    return Credentials(str(source.method), session.profile_name, bool(frozen.token), seconds_left)


PROBE_TYPE = "application/x-amalga-probe"  # a type that none of our objects has


@dataclass(frozen=True, slots=True)
class CloudFrontProbe:
    signed: int  # the status for a URL that we signed
    unsigned: int
    overrides: bool  # whether the response has the headers that the URL requests


def probe_cloudfront() -> CloudFrontProbe:
    """Request the bucket's marker through CloudFront. Raises S3ResponseError without a response."""
    url = download_url(MARKER_KEY, disposition="attachment", content_type=PROBE_TYPE)
    with raw_call("cloudfront"):
        signed = http().request("GET", url, retries=False)
        unsigned = http().request("GET", url.partition("?")[0], retries=False)
    headers = (signed.headers.get("Content-Type"), signed.headers.get("Content-Language"))
    return CloudFrontProbe(signed.status, unsigned.status, headers == (PROBE_TYPE, FIXED["response-content-language"]))


METHOD = "PUT"


@dataclass(frozen=True)
class Preflight:
    """The result of a preflight: whether a browser would send, else the `reason`; `any_origin` for a `*` response."""

    is_allowed: bool
    reason: str
    any_origin: bool


def preflight(origin: str, headers: Sequence[str]) -> Preflight:
    """Send the preflight of a browser for a PUT with these headers from `origin`. Raises S3ResponseError."""
    request_headers = {
        "Origin": origin,
        "Access-Control-Request-Method": METHOD,
        "Access-Control-Request-Headers": ",".join(sorted(name.lower() for name in headers)),
    }
    with raw_call("OPTIONS"):
        response = http().request("OPTIONS", object_url(NEVER_USED, main_store()), headers=request_headers)
    allowed = response.headers.get("Access-Control-Allow-Origin", "")
    reason = _denial(response.status, allowed, origin)
    methods = _split(response.headers.get("Access-Control-Allow-Methods", ""))
    if not reason and not {METHOD.lower(), "*"} & methods:
        reason = f"{METHOD} is not allowed"
    allowed_headers = _split(response.headers.get("Access-Control-Allow-Headers", ""))
    refused = [] if "*" in allowed_headers else [name for name in headers if name.lower() not in allowed_headers]
    if not reason and refused:
        reason = f"the header {', '.join(refused)} is not allowed"
    return Preflight(not reason, reason, allowed == "*")


def _denial(status: int, allowed: str, origin: str) -> str:
    if not 200 <= status < 300:
        return f"HTTP status {status}"
    if allowed in {origin, "*"}:
        return ""
    return f"only {allowed[:100]} is allowed" if allowed else "no origin is allowed"


def _split(header: str) -> set[str]:
    return {item.strip().lower() for item in header.split(",")}


def probe_endpoint() -> datetime | None:
    """List one key, and return the storage's time; None if missing. Raises S3ResponseError, which has the time too."""
    with raw_call("ListObjectsV2"):
        response = client().list_objects_v2(Bucket=settings.S3_BUCKET, MaxKeys=1)
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    return parse_date_header(headers.get("date", ""))


def parse_date_header(date: str) -> datetime | None:
    """Return a `Date:` header (RFC 9110) as a time; None if it is not valid."""
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


PUBLIC_REQUESTS = {"list the bucket": ("GET", "?list-type=2&max-keys=1"), "read an object": ("GET", MARKER_KEY)}


def public_requests() -> list[str]:
    """Describe what succeeds without a signature, which should be nothing. Raises S3ResponseError."""
    bucket = bucket_url(main_store())
    allowed = []
    for action, (method, path) in PUBLIC_REQUESTS.items():
        with raw_call("anonymous"):
            response = http().request(method, f"{bucket}{path}")
        if 200 <= response.status < 300:
            allowed.append(action)
    return allowed
