"""Who reaches the bucket, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from django.conf import settings

from uploads.s3.client import client, http, seconds_of_credentials, session_of
from uploads.s3.downloads import FIXED, download_url
from uploads.s3.errors import S3ResponseError, raw_call
from uploads.s3.metadata_objects import MARKER_KEY
from uploads.s3.objects import NEVER_USED
from uploads.s3.signing import object_url
from uploads.s3.stores import main_store


@dataclass(frozen=True)
class Credentials:
    """`source` as botocore calls it, `profile` what AWS's files call it. `temporary`: they carry a session token.

    `seconds_left`: until they end, of those that boto3 renews by itself; None for the others.
    """

    source: str
    profile: str
    temporary: bool
    seconds_left: float | None


def credentials_in_use() -> Credentials | None:
    """What boto3's search finds; None if it finds nothing. Raises Said when a place to ask does not answer."""
    with raw_call("GetCredentials"):
        session = session_of(main_store())
        found = session.get_credentials()
        if found is None:
            return None
        try:
            frozen = found.get_frozen_credentials()
        except RuntimeError:  # botocore's, without a class of its own
            raise S3ResponseError("GetCredentials", "EXPIRED") from None
    if not frozen.access_key or not frozen.secret_key:
        raise S3ResponseError("GetCredentials", "PartialCredentialsError")
    return Credentials(str(found.method), session.profile_name, bool(frozen.token), seconds_of_credentials())


TYPE = "application/x-amalga-asked"  # that no object of ours has


@dataclass(frozen=True, slots=True)
class Edge:
    signed: int  # the status of the answer to a URL of ours
    unsigned: int
    overrides: bool  # whether the answer has the headers that the URL asks for


def probe_cloudfront() -> Edge:
    """Raises Said when it does not answer. What is asked for is the bucket's marker."""
    url = download_url(MARKER_KEY, disposition="attachment", content_type=TYPE)
    with raw_call("cloudfront"):
        ours = http().request("GET", url, retries=False)
        anybodys = http().request("GET", url.partition("?")[0], retries=False)
    told = (ours.headers.get("Content-Type"), ours.headers.get("Content-Language"))
    return Edge(ours.status, anybodys.status, told == (TYPE, FIXED["ResponseContentLanguage"]))


METHOD = "PUT"


@dataclass(frozen=True)
class Preflight:
    """`lets_in`: a browser would send. Otherwise `why` it would not. `everybody`: the answer fits any page."""

    lets_in: bool
    why: str
    everybody: bool


def preflight(origin: str, headers: Sequence[str]) -> Preflight:
    """Ask as a browser does for a page of `origin` that wants to PUT with these headers. Raises Said."""
    sent = {
        "Origin": origin,
        "Access-Control-Request-Method": METHOD,
        "Access-Control-Request-Headers": ",".join(sorted(name.lower() for name in headers)),
    }
    with raw_call("OPTIONS"):
        answer = http().request("OPTIONS", object_url(NEVER_USED, main_store()), headers=sent)
    allowed = answer.headers.get("Access-Control-Allow-Origin", "")
    why = _why_not(answer.status, allowed, origin)
    may = _words(answer.headers.get("Access-Control-Allow-Methods", ""))
    if not why and not {METHOD.lower(), "*"} & may:
        why = f"{METHOD} is not allowed"
    listed = _words(answer.headers.get("Access-Control-Allow-Headers", ""))
    refused = [] if "*" in listed else [name for name in headers if name.lower() not in listed]
    if not why and refused:
        why = f"the header {', '.join(refused)} is not allowed"
    return Preflight(not why, why, allowed == "*")


def _why_not(status: int, allowed: str, origin: str) -> str:
    if not 200 <= status < 300:
        return f"it answers {status}"
    if allowed in {origin, "*"}:
        return ""
    return f"it lets in {allowed[:100]} instead" if allowed else "it names no origin that may"


def _words(listed: str) -> set[str]:
    return {word.strip().lower() for word in listed.split(",")}


def probe_endpoint() -> datetime | None:
    """List one key, and return the store's time; None if it does not tell. Raises Said, which has the time as well."""
    with raw_call("ListObjectsV2"):
        answer = client().list_objects_v2(Bucket=settings.S3_BUCKET, MaxKeys=1)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return probe_time(headers.get("date", ""))


def probe_time(date: str) -> datetime | None:
    """A `Date:` header (RFC 9110) as a time."""
    try:
        found = parsedate_to_datetime(date)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


QUESTIONS = {"list the bucket": ("GET", "?list-type=2&max-keys=1"), "read an object": ("GET", MARKER_KEY)}


def is_publicly_readable() -> list[str]:
    """What can be done without a signature, in words; nothing, as it should be. Raises Said."""
    bucket = object_url(MARKER_KEY, main_store()).removesuffix(MARKER_KEY)
    done = []
    for what, (method, rest) in QUESTIONS.items():
        with raw_call("anonymous"):
            answer = http().request(method, f"{bucket}{rest}")
        if 200 <= answer.status < 300:
            done.append(what)
    return done
