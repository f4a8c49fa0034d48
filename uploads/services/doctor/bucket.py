"""Check the bucket: its settings, its owner, its access, and which wrong requests it refuses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from amalga.settings.env import is_loopback
from uploads import s3
from uploads.errors import StorageDenied, StorageUnavailable, ValidationFailed
from uploads.keys import CHECKPOINT_KEY, OWN_PREFIXES
from uploads.s3.bucket_config import (
    BUCKET_SETTINGS,
    BucketSetting,
    SettingDiff,
    SettingStatus,
    compare_setting,
    tiering_configurations,
)
from uploads.s3.bucket_policies import PUT_HEADERS, BucketSpec, archive_tiers, lifecycle_conflicts, unknown_classes
from uploads.s3.errors import ACCESS_DENIED, S3ResponseError, at_aws
from uploads.s3.feature_probes import (
    ProbeResult,
    clear_leftovers,
    honors_owner,
    probe_checksum_mode,
    probe_conditions,
)
from uploads.s3.probes import preflight, public_requests
from uploads.services.doctor.results import CheckResult, Level, fail, ok, warn
from uploads.services.provision import desired_bucket, expiry_days, site_origins

REPAIR_HINT = "run `manage.py provision --apply`"
FOREIGN_ORIGIN = "https://evil.example"
# without these, files are lost or exposed; the others are precautions
CRITICAL = {"public access", "CORS"}
MODES = ("sha256", "payload", "off")  # best first
MODE_EFFECTS = {
    "sha256": "corrupted uploads are rejected, and checksums are stored",
    "payload": "corrupted uploads are rejected",
    "off": "corrupted uploads are accepted, and found by `manage.py verify`",
}

# IAM permissions for the calls of the probe
PERMISSIONS = {
    "PutObject": "s3:PutObject, and with a KMS key also kms:GenerateDataKey and kms:Decrypt",
    "CreateMultipartUpload": "s3:PutObject, and with a KMS key also kms:GenerateDataKey and kms:Decrypt",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "GetObject": "s3:GetObject, and with a KMS key also kms:Decrypt",
    "HeadObject": "s3:GetObject",
    "DeleteObject": "s3:DeleteObject and s3:GetObject",
    "DeleteObjects": "s3:DeleteObject and s3:GetObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "ListObjectsV2": "s3:ListBucket",
}

CONDITIONS = {
    "complete": "If-None-Match in CompleteMultipartUpload",
    "copy": "If-None-Match in CopyObject",
    "delete": "If-Match in DeleteObject",
}

# error codes of self-hosted storage; AWS has none for this
STORAGE_FULL = (
    "XMinioStorageFull",
    "StorageFull",
    "InsufficientStorage",
    "QuotaExceeded",
    "InsufficientCapacity",
    "507",
)

Check = Callable[[], Iterable[CheckResult]]


def bucket_checks(given_origins: Sequence[str] | None, own_id: UUID | None) -> Iterator[tuple[str, Check]]:
    """Yield all checks of the bucket.

    `given_origins` are those of our pages, None to use the settings; `own_id` is this database's installation ID.
    """
    try:
        origins = list(given_origins) if given_origins is not None else site_origins()
    except ValidationFailed as problem:
        line = warn("CORS", "not checked: the origins of the site are unknown", problem.message)
        yield "CORS", lambda: [line]
        origins = []
    spec = desired_bucket(origins)
    for point in BUCKET_SETTINGS:
        if point.subject != "CORS" or origins:
            yield f"bucket {point.subject}", functools.partial(check_setting, point, spec)
    yield "bucket archive tiers", check_archive_tiers
    yield "bucket anonymous access", check_anonymous_access
    yield "marker", functools.partial(check_marker, own_id)
    for origin in origins:
        yield f"CORS from {origin}", functools.partial(check_cors, origin)
    yield f"CORS from {FOREIGN_ORIGIN}", check_foreign_cors
    yield "checksums", check_features
    yield "bucket owner", check_owner


def check_setting(point: BucketSetting, spec: BucketSpec) -> Iterable[CheckResult]:
    subject, diff = f"bucket {point.subject}", compare_setting(point, spec)
    if diff.status is SettingStatus.MATCHES:
        yield ok(subject, "as required")
    elif diff.status is SettingStatus.DIFFERS:
        reason = "; ".join(f"{what} is {now}" for what, now, _ in diff.lines[:3])
        more = f"; {len(diff.lines) - 3} more" if len(diff.lines) > 3 else ""
        yield (fail if point.subject in CRITICAL else warn)(subject, f"{reason}{more}", REPAIR_HINT)
    else:
        yield warn(subject, diff.reason, diff.advice)
    if point.subject == "lifecycle":
        yield from _lifecycle_results(diff)


def _lifecycle_results(diff: SettingDiff) -> Iterable[CheckResult]:
    for message in lifecycle_conflicts(diff.now, expiry_days=expiry_days()):
        advice = f"exclude {', '.join(OWN_PREFIXES)} and {CHECKPOINT_KEY} from that rule"
        yield fail("bucket lifecycle", message, advice)
    for message in unknown_classes(diff.now):
        yield warn(
            "bucket lifecycle",
            message,
            "look up the storage class; if it is an archive, limit that rule to other files",
        )


def check_archive_tiers() -> Iterable[CheckResult]:
    """Check for archive tiers: lifecycle rules, imports or a default can give objects Intelligent-Tiering."""
    subject = "bucket archive tiers"
    try:
        configurations = archive_tiers(tiering_configurations(settings.S3_BUCKET))
    except S3ResponseError as error:
        if error.is_denied:
            yield ok(subject, "not checked: these credentials lack s3:GetIntelligentTieringConfiguration")
        else:
            yield warn(subject, f"could not be read ({error.code})", "run doctor again")
        return
    for configuration in configurations:
        yield warn(subject, configuration, "remove the configuration, or limit it to other files")
    if not configurations:
        yield ok(subject, "no Intelligent-Tiering configuration archives files")


def check_anonymous_access() -> Iterable[CheckResult]:
    subject = "bucket anonymous access"
    try:
        allowed = public_requests()
    except S3ResponseError as error:
        yield warn(subject, f"could not be checked ({error.code})", "run doctor again")
        return
    if allowed:
        yield fail(subject, f"anyone on the network can {' and '.join(allowed)}", f"close it now: {REPAIR_HINT}")
    else:
        yield ok(subject, "blocked")


def check_marker(own_id: UUID | None) -> Iterable[CheckResult]:
    subject = "marker"
    try:
        marker = s3.read_marker()
    except StorageUnavailable as fault:
        is_denied = isinstance(fault, StorageDenied)
        advice = "allow s3:GetObject on amalga.json" if is_denied else "fix the storage, and run doctor again"
        yield fail(subject, f"could not be read ({fault.detail})", advice)
    except ValidationFailed:
        yield fail(
            subject,
            "amalga.json is not a valid marker",
            "if no other program needs it, delete it and run `manage.py provision --apply`",
        )
    else:
        if marker is None:
            yield warn(subject, "missing: the bucket does not name its database", REPAIR_HINT)
        elif own_id is None:
            yield warn(
                subject, f"not checked: it is {marker}, but the database is unavailable", "fix the database first"
            )
        elif marker != own_id:
            reason = f"the bucket belongs to another database: the marker is {marker}, this database is {own_id}"
            yield fail(subject, reason, "correct AWS_STORAGE_BUCKET_NAME or DATABASE_URL before anything else")
        else:
            yield ok(subject, "the bucket belongs to this database")


def check_cors(origin: str) -> Iterable[CheckResult]:
    subject = f"CORS from {origin}"
    try:
        response = preflight(origin, PUT_HEADERS[settings.S3_CHECKSUMS])
    except S3ResponseError as error:
        yield fail(
            subject, f"browsers cannot connect ({error.code})", "check that browsers can reach AWS_ENDPOINT_URL_S3"
        )
        return
    if response.is_allowed:
        yield ok(subject, "browsers can upload")
    else:
        yield fail(subject, f"browsers cannot upload: {response.reason}", REPAIR_HINT)


def check_foreign_cors() -> Iterable[CheckResult]:
    """Check CORS for a foreign origin. It could upload only with a presigned URL, which only our own pages get."""
    subject = f"CORS from {FOREIGN_ORIGIN}"
    try:
        response = preflight(FOREIGN_ORIGIN, PUT_HEADERS["off"])
    except S3ResponseError as error:
        yield fail(
            subject, f"browsers cannot connect ({error.code})", "check that browsers can reach AWS_ENDPOINT_URL_S3"
        )
        return
    if not response.is_allowed:
        yield ok(subject, f"other sites are blocked: {response.reason}")
    elif is_loopback(urlsplit(settings.S3_ORIGIN).hostname):
        yield ok(subject, "other sites are allowed; the storage is only on this machine")
    else:
        yield fail(subject, "other sites are allowed", REPAIR_HINT)


def check_features() -> Iterable[CheckResult]:
    """Probe checksums, then conditional requests, unless the first probe failed: its reason would be reported twice."""
    lines = list(check_checksums())
    yield from lines
    if all(line.level is not Level.FAIL for line in lines):
        yield from check_conditional_requests()


def check_checksums() -> Iterable[CheckResult]:
    subject, mode = "checksums", settings.S3_CHECKSUMS
    try:
        clear_leftovers()
        probes = {candidate: probe_checksum_mode(candidate) for candidate in MODES}
    except S3ResponseError as error:
        advice = (
            f"allow {PERMISSIONS[error.operation]}" if error.is_denied else "wait for the storage, and run doctor again"
        )
        yield fail(subject, f"the test failed at {error.operation}: {error.code}", advice)
        return
    best = next((candidate for candidate in MODES if probes[candidate].honors(candidate)), None)
    if best is None:
        if any(word in probes["off"].fault for word in STORAGE_FULL):
            yield fail(
                subject, "the storage is full, or its quota is used up, so nothing can be uploaded", "add capacity"
            )
            return
        denied = any(word in probes["off"].fault for word in ACCESS_DENIED)
        advice = f"allow {PERMISSIONS['PutObject']}" if denied else "check the log of the storage"
        yield fail(subject, f"uploads fail: {probes['off'].fault}", advice)
    elif not probes[mode].honors(mode):
        reason = f"the storage does not support S3_CHECKSUMS={mode}: {_probe_problem(probes[mode])}"
        yield fail(subject, reason, f"set S3_CHECKSUMS={best}: {MODE_EFFECTS[best]}")
    elif best != mode:
        yield warn(
            subject, f"S3_CHECKSUMS={mode}: {MODE_EFFECTS[mode]}", f"set S3_CHECKSUMS={best}: {MODE_EFFECTS[best]}"
        )
    else:
        supported = ", ".join(candidate for candidate in MODES if probes[candidate].honors(candidate))
        yield ok(subject, f"S3_CHECKSUMS={mode}: {MODE_EFFECTS[mode]} (tested; the storage supports {supported})")
    if best and not probes[best].refuses_longer:
        yield fail(
            subject, "uploads can be larger than their presigned URL allows", "use a storage that checks signatures"
        )


def _probe_problem(probe: ProbeResult) -> str:
    if probe.fault:
        return probe.fault
    if not probe.refuses_flipped:
        return "a corrupted upload is accepted"
    if not probe.refuses_flipped_part:
        return "a corrupted part is accepted"
    return "it does not store checksums"


def check_conditional_requests() -> Iterable[CheckResult]:
    subject = "conditional requests"
    try:
        honored = probe_conditions()
    except S3ResponseError as error:
        advice = (
            f"allow {PERMISSIONS[error.operation]}" if error.is_denied else "wait for the storage, and run doctor again"
        )
        yield fail(subject, f"the test failed at {error.operation}: {error.code}", advice)
        return
    configured = settings.S3_CONDITIONS
    for name, description in CONDITIONS.items():
        if name in configured - honored:
            reason = f"S3_CONDITIONS has {name}, but the storage does not support {description}"
            yield fail(subject, reason, f"set S3_CONDITIONS={_join(configured & honored)}")
        elif name in honored - configured:
            yield warn(
                subject,
                f"the storage supports {description}",
                f"set S3_CONDITIONS={_join(configured & honored | {name})}",
            )
    if configured == honored:
        yield ok(subject, f"S3_CONDITIONS={_join(configured)}: all that the storage supports (tested)")


def _join(conditions: Iterable[str]) -> str:
    return ",".join(sorted(conditions)) or "off"


def check_owner() -> Iterable[CheckResult]:
    """Check that the storage honors S3_BUCKET_OWNER. Earlier checks fail if the owner is wrong."""
    subject, owner = "bucket owner", settings.S3_BUCKET_OWNER
    if not owner:
        advice = "set S3_BUCKET_OWNER to the account ID of the bucket"
        reason = "not verified: S3_BUCKET_OWNER is not set"
        yield warn(subject, reason, advice) if at_aws() else ok(subject, reason)
        return
    try:
        calls, urls = honors_owner()
    except S3ResponseError as error:
        yield fail(
            subject, f"the test failed at {error.operation}: {error.code}", "wait for the storage, and run doctor again"
        )
        return
    if not calls:
        yield fail(subject, "S3_BUCKET_OWNER is set, but the storage ignores it", "remove S3_BUCKET_OWNER")
    elif not urls:
        yield warn(
            subject,
            f"requests are limited to account {owner}, but presigned URLs are not",
            "use a storage that checks both",
        )
    else:
        yield ok(subject, f"the bucket belongs to account {owner}, and the storage rejects any other (tested)")
