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
from uploads.s3.errors import ACCESS_DENIED, NO_BUCKET, OTHER_REGION, S3ResponseError, at_aws
from uploads.s3.feature_probes import belongs_to_another
from uploads.s3.probes import credentials_in_use, parse_date_header, probe_cloudfront, probe_endpoint
from uploads.services.doctor.bucket import bucket_checks
from uploads.services.doctor.results import CheckResult, Deadline, Level, fail, ok, warn
from uploads.services.provision import site_origins

CREDENTIAL_SOURCES = {
    "env": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "shared-credentials-file": "a credentials file",
    "config-file": "a config file",
    "assume-role": "a role assumed by a profile",
    "assume-role-with-web-identity": "a role assumed by web identity",
    "container-role": "the role of the container",
    "iam-role": "the role of the machine",
    "sso": "a person's single sign-on",
    "login": "a person's AWS login",
    "custom-process": "a credential_process program",
}
STORAGE_SUBJECTS = {"credentials", "storage", "storage clock", "CloudFront"}
PROFILE_SOURCES = {"shared-credentials-file", "config-file", "assume-role", "sso", "login", "custom-process"}
LONG_LIVED_SOURCES = {"env", "shared-credentials-file", "config-file"}
PERSONAL_SOURCES = {"sso", "login"}
# reason and advice for missing credentials, by the error of botocore or of the issuing service
SSO_EXPIRED = ("the single sign-on session has expired", "run `aws sso login`; on a server, use a role")
CREDENTIAL_ERRORS = {
    "ProfileNotFound": ("the profile does not exist", "correct AWS_PROFILE or AWS_SHARED_CREDENTIALS_FILE"),
    "PartialCredentialsError": ("incomplete", "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither"),
    "ConfigParseError": ("an AWS configuration file is invalid", "correct it, or AWS_SHARED_CREDENTIALS_FILE"),
    "MetadataRetrievalError": ("the container or machine has no credentials", "check the role of the task or machine"),
    "CredentialRetrievalError": ("the credential provider failed", "check the role, or credential_process"),
    "UnauthorizedSSOTokenError": SSO_EXPIRED,
    "SSOTokenLoadError": SSO_EXPIRED,
    "TokenRetrievalError": SSO_EXPIRED,
    "AccessDenied": ("the role cannot be assumed", "check the trust policy of the role"),
    "ExpiredTokenException": ("the web identity token has expired", "check AWS_WEB_IDENTITY_TOKEN_FILE"),
    "ExpiredToken": ("the credentials that assume the role have expired", "get new ones"),
    "EXPIRED": ("already expired", "check the role, and the clock of this machine"),
}
STORAGE_ERRORS = {
    "InvalidAccessKeyId": ("unknown access key", "correct AWS_ACCESS_KEY_ID or the role"),
    "SignatureDoesNotMatch": ("wrong secret key", "correct AWS_SECRET_ACCESS_KEY"),
    "ExpiredToken": ("the credentials have expired", "get new ones, or use a role, which renews them"),
    "InvalidToken": ("invalid session token", "correct or remove AWS_SESSION_TOKEN"),
    "EndpointConnectionError": ("cannot connect", "check AWS_ENDPOINT_URL_S3 and the network"),
    "ConnectTimeoutError": ("cannot connect", "check AWS_ENDPOINT_URL_S3 and the network"),
    "ReadTimeoutError": ("timed out after the request was sent", "check the storage and proxies"),
    "ConnectionClosedError": ("connection closed", "check the log of the storage, and proxies"),
    "SSLError": (
        "invalid certificate, or no TLS",
        "check the certificate and AWS_CA_BUNDLE",
    ),
    "InvalidRegionError": ("invalid region name", "correct AWS_DEFAULT_REGION"),
    "ParamValidationError": ("invalid bucket name", "correct AWS_STORAGE_BUCKET_NAME"),
}


def store_checks(deadline: Deadline, origins: Sequence[str]) -> Iterator[CheckResult]:
    """Yield the results of all storage checks. Raises ValidationFailed for an invalid origin."""
    given_origins = site_origins(origins) if origins else None
    own_id = _own_id()
    for subject, check in (("credentials", check_credentials), ("storage", check_endpoint)):
        lines = deadline.run(subject, check)
        yield from lines
        if any(line.level is Level.FAIL and line.subject == subject for line in lines):
            yield warn("bucket", "the bucket was not checked", "fix the storage first, and run doctor again")
            return
    for subject, check in bucket_checks(given_origins, own_id):
        yield from deadline.run(subject, check)
    if settings.CLOUDFRONT:
        yield from deadline.run(SUBJECT, check_cloudfront)


def _own_id() -> UUID | None:
    """Return the installation ID, or None if the database does not respond, which another check reports."""
    try:
        return Installation.objects.own_id()
    except DatabaseError:
        return None


def check_credentials() -> Iterable[CheckResult]:
    subject = "credentials"
    try:
        credentials = credentials_in_use()
    except S3ResponseError as error:
        reason, advice = CREDENTIAL_ERRORS.get(
            error.code, (error.code, "check the role, the profile and the AWS_* variables")
        )
        yield fail(subject, f"not available: {reason}", advice)
        return
    if credentials is None:
        yield fail(subject, "not found", "give the machine a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return
    source = CREDENTIAL_SOURCES.get(credentials.source, credentials.source)
    if credentials.source in PROFILE_SOURCES:
        source = f"{source}, profile {credentials.profile}"
    if credentials.seconds_left is not None and credentials.seconds_left < URL_SECONDS:
        reason = (
            f"from {source}. They expire in {humanize_duration(credentials.seconds_left)}, and presigned URLs with them"
        )
        yield warn(subject, reason, "issue them for longer")
    elif credentials.temporary and credentials.seconds_left is None:
        advice = "use a role, which renews them"
        yield warn(subject, f"from {source}. They are temporary, and are not renewed", advice)
    elif credentials.source in PERSONAL_SOURCES:
        yield warn(subject, f"from {source}, which expires with the session", "use a role")
    elif credentials.source in LONG_LIVED_SOURCES and at_aws():
        yield warn(subject, f"from {source}. Long-lived keys can leak", "use a role")
    else:
        lifetime = (
            ""
            if credentials.seconds_left is None
            else f", renewed automatically, valid for {humanize_duration(credentials.seconds_left)}"
        )
        yield ok(subject, f"from {source}{lifetime}")


def check_endpoint() -> Iterable[CheckResult]:
    before = datetime.now(UTC)
    try:
        server_time = probe_endpoint()
    except S3ResponseError as error:
        server_time = parse_date_header(error.date)
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
    yield ok("storage", f"{_endpoint()} responds, and the bucket {settings.S3_BUCKET} exists")
    if server_time:
        yield check_clock("storage clock", server_time, before=before, after=after, exact=False)
    else:
        yield warn("storage clock", "the storage does not send the time", "check the clocks yourself")


def _clock(server_time: datetime, before: datetime) -> CheckResult:
    return check_clock("storage clock", server_time, before=before, after=datetime.now(UTC), exact=False)


def listing_error(error: S3ResponseError, bucket: str) -> CheckResult:
    """Explain why the storage did not list the bucket."""
    subject = "storage"
    if error.code in {"RequestTimeTooSkewed", "RequestExpired"}:
        return fail(subject, "requests are rejected because of clock skew", ADVICE)
    if error.code in NO_BUCKET:
        advice = "correct AWS_STORAGE_BUCKET_NAME, or run `manage.py provision --apply`"
        return fail(subject, f"the bucket {bucket} does not exist at {_endpoint()}", advice)
    if error.code in OTHER_REGION:
        return _other_region(error.region)
    if error.code in ACCESS_DENIED:
        return _denied(bucket)
    reason, advice = STORAGE_ERRORS.get(
        error.code, (f"error {error.code}", "look up this error in the storage's documentation")
    )
    if error.status >= 500 and error.code.isdecimal():
        reason, advice = f"HTTP error {error.code}, not from S3", "wait, or correct AWS_ENDPOINT_URL_S3"
    elif error.status >= 500:
        reason, advice = f"internal error {error.code}", "wait; files are safe"
    return fail(subject, f"{_endpoint()}: {reason}", advice)


def _denied(bucket: str) -> CheckResult:
    with contextlib.suppress(S3ResponseError):
        if belongs_to_another():
            reason = f"the bucket {bucket} does not belong to account {settings.S3_BUCKET_OWNER} (S3_BUCKET_OWNER)"
            advice = "find out who owns that bucket, then correct AWS_STORAGE_BUCKET_NAME or S3_BUCKET_OWNER"
            return fail("storage", reason, advice)
    is_ours = is_own_bucket()
    if is_ours is False:
        return fail("storage", f"the bucket {bucket} belongs to another account", "correct AWS_STORAGE_BUCKET_NAME")
    if is_ours:
        return fail("storage", f"access denied: the bucket {bucket} cannot be listed", "allow s3:ListBucket on it")
    advice = "allow s3:ListBucket on it if it is yours, or correct AWS_STORAGE_BUCKET_NAME"
    return fail(
        "storage", f"access denied: the bucket {bucket} cannot be listed, or belongs to another account", advice
    )


def _other_region(region: str) -> CheckResult:
    reason = f"the bucket {settings.S3_BUCKET} is in {region or 'another region'}, not in {settings.S3_REGION}"
    return fail("storage", reason, f"set AWS_DEFAULT_REGION={region or '…'}")


def _endpoint() -> str:
    """Return the endpoint without path, query, and any credentials before an @."""
    return settings.S3_ORIGIN.rpartition("@")[2] if settings.S3_ENDPOINT else f"S3 in {settings.S3_REGION}"


# S3 refuses requests with a clock skew of 15 minutes, and presigned URLs expire after 10 minutes or less.
FAIL_SECONDS = 300
WARN_SECONDS = 30
ADVICE = "set the clocks with a time service (chrony, systemd-timesyncd)"


def check_clock(subject: str, server_time: datetime, *, before: datetime, after: datetime, exact: bool) -> CheckResult:
    """Compare `server_time`, read between `before` and `after`, with our clock. Without `exact` it is in seconds."""
    late, early = (server_time - after).total_seconds(), (before - server_time).total_seconds()
    skew = max(0.0, late, early - (0 if exact else 1))
    if skew <= WARN_SECONDS:
        return ok(subject, f"{skew:.0f} seconds of skew")
    reason = f"{humanize_duration(skew)} {'ahead of' if late > 0 else 'behind'} the clock of this machine"
    if skew > FAIL_SECONDS:
        return fail(subject, reason, f"{ADVICE}; requests are rejected until then")
    return warn(subject, reason, ADVICE)


SUBJECT = "CloudFront"


def check_cloudfront() -> Iterable[CheckResult]:
    domain = (settings.CLOUDFRONT or {}).get("custom_domain")
    try:
        probe = probe_cloudfront()
    except S3ResponseError as error:
        yield fail(SUBJECT, f"cannot connect to {domain} ({error.code})", "check CLOUDFRONT_DOMAIN and its certificate")
        return
    if 200 <= probe.unsigned < 300:
        advice = "restrict viewer access of its behavior to the key group"
        yield fail(SUBJECT, f"{domain} serves files without a signature", advice)
    elif probe.signed != 200:
        advice = "check CLOUDFRONT_KEY_ID, the key group, and whether the bucket policy lets the distribution read"
        yield fail(SUBJECT, f"{domain} rejects our signatures ({probe.signed})", advice)
    elif not probe.overrides:
        advice = "include all six response-* query strings in its cache policy"
        yield fail(SUBJECT, f"{domain} serves files without all signed headers", advice)
    else:
        yield ok(SUBJECT, f"{domain} serves only presigned URLs")
