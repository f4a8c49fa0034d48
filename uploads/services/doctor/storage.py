"""Checks of the storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from uploads.humanize import humanize_duration
from uploads.models import Installation
from uploads.s3 import URL_SECONDS
from uploads.s3.bucket_config import bucket_region, is_own_bucket
from uploads.s3.errors import DENIED, NO_BUCKET, OTHER_REGION, S3ResponseError, at_aws
from uploads.s3.feature_probes import belongs_to_another
from uploads.s3.probes import credentials_in_use, probe_cloudfront, probe_endpoint, probe_time
from uploads.services.doctor.bucket import bucket_checks
from uploads.services.doctor.results import CheckResult, Deadline, Level, fail, ok, warn
from uploads.services.provision import site_origins

CREDENTIAL_SOURCES = {
    "env": "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "shared-credentials-file": "a credentials file",
    "config-file": "a config file",
    "assume-role": "a role that a profile assumes",
    "assume-role-with-web-identity": "a role, by web identity",
    "container-role": "the role of the container",
    "iam-role": "the role of the machine",
    "sso": "a person's single sign-on",
    "login": "a person's login",
    "custom-process": "a program of its own",
}
PROFILE_SOURCES = {"shared-credentials-file", "config-file", "assume-role", "sso", "login", "custom-process"}
LONG_LIVED_SOURCES = {"env", "shared-credentials-file", "config-file"}
PERSONAL_SOURCES = {"sso", "login"}
# reason and advice for missing credentials, by the error of botocore or of the issuing service
SSO_EXPIRED = ("the person's sign-on is over", "sign on again (`aws sso login`); on a server use a role")
CREDENTIAL_ERRORS = {
    "ProfileNotFound": ("no file has a profile of that name", "correct AWS_PROFILE, or AWS_SHARED_CREDENTIALS_FILE"),
    "PartialCredentialsError": ("half of them is missing", "set AWS_ACCESS_KEY_ID and its secret, or neither"),
    "ConfigParseError": ("a file of AWS's cannot be read as one", "correct it, or AWS_SHARED_CREDENTIALS_FILE"),
    "MetadataRetrievalError": ("the container or machine is given none", "look at the task's or the machine's role"),
    "CredentialRetrievalError": ("whoever gives them out has failed", "look at the role, or at credential_process"),
    "UnauthorizedSSOTokenError": SSO_EXPIRED,
    "SSOTokenLoadError": SSO_EXPIRED,
    "TokenRetrievalError": SSO_EXPIRED,
    "AccessDenied": ("the role may not be assumed", "look at whom the role trusts"),
    "ExpiredTokenException": ("the token that is shown for them has expired", "look at AWS_WEB_IDENTITY_TOKEN_FILE"),
    "ExpiredToken": ("those that the role is assumed with have expired", "fetch new ones"),
    "EXPIRED": ("those that are given have expired", "look at the role, and at this machine's clock"),
}
STORAGE_ERRORS = {
    "InvalidAccessKeyId": ("it knows no such access key", "correct AWS_ACCESS_KEY_ID, or the role"),
    "SignatureDoesNotMatch": ("the secret does not fit the access key", "correct AWS_SECRET_ACCESS_KEY"),
    "ExpiredToken": ("the credentials have expired", "fetch new ones; a role renews them by itself"),
    "InvalidToken": ("the session token is none of its own", "correct AWS_SESSION_TOKEN, or leave it out"),
    "EndpointConnectionError": ("nobody answers there", "look at AWS_ENDPOINT_URL_S3 and at the network on the way"),
    "ConnectTimeoutError": ("nobody answers there", "look at AWS_ENDPOINT_URL_S3 and at the network on the way"),
    "ReadTimeoutError": ("it takes the question and never answers", "look at the store itself, and at proxies"),
    "ConnectionClosedError": ("it breaks connections off", "look at the store's log, and at proxies on the way"),
    "SSLError": (
        "its certificate proves nothing, or it speaks no TLS",
        "look at its certificate, and at AWS_CA_BUNDLE",
    ),
    "InvalidRegionError": ("that is no name of a region", "correct AWS_DEFAULT_REGION"),
    "ParamValidationError": ("that is no name of a bucket", "correct AWS_STORAGE_BUCKET_NAME"),
}


def store_checks(deadline: Deadline, origins: Sequence[str]) -> Iterator[CheckResult]:
    """Yield the results of all storage checks. Raises ValidationFailed for an invalid origin."""
    given_origins = site_origins(origins) if origins else None
    own_id = _own_id()
    for subject, check in (("credentials", credential_lines), ("store", reach_lines)):
        lines = deadline.run(subject, check)
        yield from lines
        if any(line.level is Level.FAIL and line.subject == subject for line in lines):
            yield warn("bucket", "how it is set up was not looked at", "fix that first, and ask again")
            return
    for subject, check in bucket_checks(given_origins, own_id):
        yield from deadline.run(subject, check)
    if settings.CLOUDFRONT:
        yield from deadline.run("cloudfront", cloudfront_lines)


def _own_id() -> UUID | None:
    """Return the installation ID, or None if the database does not respond, which another check reports."""
    try:
        return Installation.objects.own_id()
    except DatabaseError:
        return None


def credential_lines() -> Iterable[CheckResult]:
    subject = "credentials"
    try:
        credentials = credentials_in_use()
    except S3ResponseError as error:
        reason, advice = CREDENTIAL_ERRORS.get(error.code, (error.code, "look at the role, the profile and AWS_…"))
        yield fail(subject, f"they cannot be had: {reason}", advice)
        return
    if credentials is None:
        yield fail(subject, "boto3 finds none", "give the machine a role, or set AWS_ACCESS_KEY_ID and its secret")
        return
    source = CREDENTIAL_SOURCES.get(credentials.source, credentials.source)
    if credentials.source in PROFILE_SOURCES:
        source = f"{source}, profile {credentials.profile}"
    if credentials.seconds_left is not None and credentials.seconds_left < URL_SECONDS:
        reason = f"from {source}; they end in {humanize_duration(credentials.seconds_left)}, and signed URLs with them"
        yield warn(subject, reason, "let them be given for longer")
    elif credentials.temporary and credentials.seconds_left is None:
        advice = "use a role, whose credentials are renewed"
        yield warn(subject, f"from {source}; they are temporary, and nobody renews them", advice)
    elif credentials.source in PERSONAL_SOURCES:
        yield warn(subject, f"from {source}, which ends when that person's session does", "use a role")
    elif credentials.source in LONG_LIVED_SOURCES and at_aws():
        yield warn(subject, f"from {source}; such keys never end and are found by others", "use a role")
    else:
        lifetime = (
            ""
            if credentials.seconds_left is None
            else f"; renewed by itself, these last for {humanize_duration(credentials.seconds_left)}"
        )
        yield ok(subject, f"from {source}{lifetime}")


def reach_lines() -> Iterable[CheckResult]:
    before = datetime.now(UTC)
    try:
        server_time = probe_endpoint()
    except S3ResponseError as error:
        server_time = probe_time(error.date)
        if server_time and error.status:
            clock = _clock(server_time, before)
            yield from [clock] if clock.level is not Level.OK else []
        yield listing_error(error, settings.S3_BUCKET)
        return
    after = datetime.now(UTC)
    region = bucket_region()
    if region and region != settings.S3_REGION:
        yield _other_region(region)
        return
    yield ok("store", f"{_endpoint()} answers, and the bucket {settings.S3_BUCKET} is there")
    if server_time:
        yield clock_line("store clock", server_time, before=before, after=after, exact=False)
    else:
        yield warn("store clock", "the store does not tell the time", "make sure by other means that the clocks agree")


def _clock(server_time: datetime, before: datetime) -> CheckResult:
    return clock_line("store clock", server_time, before=before, after=datetime.now(UTC), exact=False)


def listing_error(error: S3ResponseError, bucket: str) -> CheckResult:
    """Explain why the storage did not list the bucket."""
    subject = "store"
    if error.code in {"RequestTimeTooSkewed", "RequestExpired"}:
        return fail(subject, "it refuses what we sign, because the clocks do not agree", ADVICE)
    if error.code in NO_BUCKET:
        advice = "correct AWS_STORAGE_BUCKET_NAME, or run `manage.py provision --apply`"
        return fail(subject, f"there is no bucket {bucket} at {_endpoint()}", advice)
    if error.code in OTHER_REGION:
        return _other_region(error.region)
    if error.code in DENIED:
        return _denied(bucket)
    reason, advice = STORAGE_ERRORS.get(error.code, (f"it answers {error.code}", "look that up at the store"))
    if error.status >= 500 and error.code.isdecimal():
        reason, advice = f"it fails without a word of S3's ({error.code})", "wait, or correct AWS_ENDPOINT_URL_S3"
    elif error.status >= 500:
        reason, advice = f"it has a fault of its own ({error.code})", "wait; nothing is lost meanwhile"
    return fail(subject, f"{_endpoint()}: {reason}", advice)


def _denied(bucket: str) -> CheckResult:
    with contextlib.suppress(S3ResponseError):
        if belongs_to_another():
            reason = f"the bucket {bucket} does not belong to account {settings.S3_BUCKET_OWNER} (S3_BUCKET_OWNER)"
            advice = "correct AWS_STORAGE_BUCKET_NAME or S3_BUCKET_OWNER; find out who made that bucket before you do"
            return fail("store", reason, advice)
    is_ours = is_own_bucket()
    if is_ours is False:
        return fail("store", f"the bucket {bucket} belongs to somebody else", "correct AWS_STORAGE_BUCKET_NAME")
    if is_ours:
        return fail("store", f"the bucket {bucket} is ours, but may not be listed", "allow s3:ListBucket on it")
    advice = "allow s3:ListBucket on it if it is yours; correct AWS_STORAGE_BUCKET_NAME if not"
    return fail("store", f"the bucket {bucket} may not be listed, or belongs to somebody else", advice)


def _other_region(region: str) -> CheckResult:
    reason = f"the bucket {settings.S3_BUCKET} is not in {settings.S3_REGION} but in {region or 'another region'}"
    return fail("store", reason, f"set AWS_DEFAULT_REGION={region or '…'}")


def _endpoint() -> str:
    """Return the endpoint without path, query, and any credentials before an @."""
    return settings.S3_ORIGIN.rpartition("@")[2] if settings.S3_ENDPOINT else f"S3 in {settings.S3_REGION}"


# S3 refuses requests with a clock skew of 15 minutes, and presigned URLs expire after 10 minutes or less.
FAIL_SECONDS = 300
WARN_SECONDS = 30
ADVICE = "let a time service (chrony, systemd-timesyncd) set the clocks"


def clock_line(subject: str, server_time: datetime, *, before: datetime, after: datetime, exact: bool) -> CheckResult:
    """Compare `server_time`, read between `before` and `after`, with our clock. Without `exact` it is in seconds."""
    late, early = (server_time - after).total_seconds(), (before - server_time).total_seconds()
    skew = max(0.0, late, early - (0 if exact else 1))
    if skew <= WARN_SECONDS:
        return ok(subject, f"agrees with this machine's, {skew:.0f} seconds off")
    reason = f"{humanize_duration(skew)} {'ahead of' if late > 0 else 'behind'} this machine's"
    if skew > FAIL_SECONDS:
        return fail(subject, reason, f"{ADVICE}; signatures are refused like this")
    return warn(subject, reason, ADVICE)


SUBJECT = "cloudfront"


def cloudfront_lines() -> Iterable[CheckResult]:
    domain = (settings.CLOUDFRONT or {}).get("custom_domain")
    try:
        probe = probe_cloudfront()
    except S3ResponseError as error:
        yield fail(SUBJECT, f"{domain} does not answer ({error.code})", "look at CLOUDFRONT_DOMAIN and its certificate")
        return
    if 200 <= probe.unsigned < 300:
        advice = "restrict viewer access of its behaviour to the key group"
        yield fail(SUBJECT, f"{domain} gives a file to whoever knows its key", advice)
    elif probe.signed != 200:
        advice = (
            "look at CLOUDFRONT_KEY_ID and the key group, and at what the bucket's policy lets the distribution read"
        )
        yield fail(SUBJECT, f"{domain} refuses what we sign ({probe.signed})", advice)
    elif not probe.overrides:
        advice = "let its cache policy pass on all six queries response-* (docs/operate/cdn.md)"
        yield fail(SUBJECT, f"{domain} gives files without all the headers that we sign", advice)
    else:
        yield ok(SUBJECT, f"{domain} gives what we sign, and nothing else")
