"""The bucket: how it is set up, whose it is, whom it lets in, and what it refuses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from amalga.hosts import is_loopback
from uploads import s3
from uploads.errors import StorageDenied, StorageUnavailable, ValidationFailed
from uploads.s3.bucket import (
    BUCKET_SETTINGS,
    PUT_HEADERS,
    BucketSetting,
    BucketSpec,
    SettingDiff,
    SettingStatus,
    archive_tiers,
    compare_setting,
    lifecycle_conflicts,
    tiering_configurations,
    unknown_classes,
)
from uploads.s3.errors import DENIED, S3ResponseError, at_aws
from uploads.s3.probes import (
    ProbeResult,
    clear_leftovers,
    honors_owner,
    is_publicly_readable,
    preflight,
    probe_checksum_mode,
    probe_conditions,
)
from uploads.services.bucket_spec import desired_bucket, expiry_days, site_origins
from uploads.services.doctor.results import CheckResult, Level, fail, ok, warn

REPAIR_HINT = "run `manage.py provision` to see it, and with --apply to mend it"
STRANGER = "https://evil.example"
# without these, people lose files or strangers get them; the others are precautions
GRAVE = {"public access", "CORS"}
MODES = ("sha256", "payload", "off")  # the best first
MEANS = {
    "sha256": "wrong bytes are refused, and digests kept",
    "payload": "wrong bytes are refused",
    "off": "wrong bytes are taken, and found when `manage.py verify` reads them",
}

# what IAM calls the right to each call of the trial
RIGHTS = {
    "PutObject": "s3:PutObject, and with a key in KMS also kms:GenerateDataKey and kms:Decrypt",
    "CreateMultipartUpload": "s3:PutObject, and with a key in KMS also kms:GenerateDataKey and kms:Decrypt",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "GetObject": "s3:GetObject, and with a key in KMS also kms:Decrypt",
    "HeadObject": "s3:GetObject",
    "DeleteObject": "s3:DeleteObject and s3:GetObject",
    "DeleteObjects": "s3:DeleteObject and s3:GetObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "ListObjectsV2": "s3:ListBucket",
}

CONDITIONS = {
    "complete": "If-None-Match when it completes an upload in parts",
    "copy": "If-None-Match when it copies",
    "delete": "If-Match when it deletes",
}

# in the words of stores that people own; AWS has none for it
FULL = ("XMinioStorageFull", "StorageFull", "InsufficientStorage", "QuotaExceeded", "InsufficientCapacity", "507")

Check = Callable[[], Iterable[CheckResult]]


def bucket_checks(named: Sequence[str] | None, own: UUID | None) -> Iterator[tuple[str, Check]]:
    """`named`: the origins of our pages, None to go by the settings; `own`: what this database is called."""
    try:
        origins = list(named) if named is not None else site_origins()
    except ValidationFailed as problem:
        line = warn("CORS", "the settings leave open where our pages are", f"{problem.message}")
        yield "CORS", lambda: [line]
        origins = []
    wanted = desired_bucket(origins)
    for point in BUCKET_SETTINGS:
        if point.subject != "CORS" or origins:
            yield f"bucket {point.subject}", functools.partial(posture_lines, point, wanted)
    yield "bucket archive tiers", tiering_lines
    yield "bucket to strangers", open_lines
    yield "marker", functools.partial(marker_lines, own)
    for origin in origins:
        yield f"CORS from {origin}", functools.partial(page_lines, origin)
    yield f"CORS from {STRANGER}", stranger_lines
    yield "digests", trial_lines
    yield "bucket owner", owner_lines


def posture_lines(point: BucketSetting, wanted: BucketSpec) -> Iterable[CheckResult]:
    subject, looked = f"bucket {point.subject}", compare_setting(point, wanted)
    if looked.status is SettingStatus.AS_WANTED:
        yield ok(subject, "as wanted")
    elif looked.status is SettingStatus.DIFFERS:
        told = "; ".join(f"{what} is {now}" for what, now, _ in looked.lines[:3])
        more = f"; {len(looked.lines) - 3} more" if len(looked.lines) > 3 else ""
        yield (fail if point.subject in GRAVE else warn)(subject, f"{told}{more}", REPAIR_HINT)
    else:
        yield warn(subject, looked.reason, looked.advice)
    if point.subject == "lifecycle":
        yield from _dangers(looked)


def _dangers(looked: SettingDiff) -> Iterable[CheckResult]:
    for told in lifecycle_conflicts(looked.now, expiry_days=expiry_days()):
        advice = f"limit that rule to what is not ours: f/, p/, quarantine/, manifests/ and {s3.CLOCK_KEY}"
        yield fail("bucket lifecycle", told, advice)
    for told in unknown_classes(looked.now):
        yield warn("bucket lifecycle", told, "look the class up; if it is an archive, limit that rule to other files")


def tiering_lines() -> Iterable[CheckResult]:
    """Objects become Intelligent-Tiering's by a lifecycle rule, by an import, or by the store's default."""
    subject = "bucket archive tiers"
    try:
        told = archive_tiers(tiering_configurations(settings.S3_BUCKET))
    except S3ResponseError as said:
        if said.is_denied:
            yield ok(subject, "not checked: these credentials lack s3:GetIntelligentTieringConfiguration")
        else:
            yield warn(subject, f"they could not be read: {said.code}", "ask again")
        return
    for one in told:
        yield warn(subject, one, "remove the configuration, or limit it to other files")
    if not told:
        yield ok(subject, "no Intelligent-Tiering configuration archives files")


def open_lines() -> Iterable[CheckResult]:
    subject = "bucket to strangers"
    try:
        done = is_publicly_readable()
    except S3ResponseError as said:
        yield warn(subject, f"it did not answer without a signature ({said.code})", "ask again")
        return
    if done:
        yield fail(subject, f"anybody on the network may {' and '.join(done)}", f"close it at once: {REPAIR_HINT}")
    else:
        yield ok(subject, "nothing is told without a signature")


def marker_lines(own: UUID | None) -> Iterable[CheckResult]:
    subject = "marker"
    try:
        found = s3.read_marker()
    except StorageUnavailable as fault:
        refused = isinstance(fault, StorageDenied)
        advice = "allow s3:GetObject on amalga.json" if refused else "mend what is wrong with the store, and ask again"
        yield fail(subject, f"it cannot be read ({fault.detail})", advice)
    except ValidationFailed as problem:
        yield fail(subject, "amalga.json is no marker of Amalga's", problem.message)
    else:
        if found is None:
            yield warn(subject, "nothing says which database the bucket belongs to", REPAIR_HINT)
        elif own is None:
            yield warn(subject, f"it says {found}, and the database does not say its own", "mend the database first")
        elif found != own:
            told = f"the bucket belongs to another database: it says {found}, this one is {own}"
            yield fail(subject, told, "check AWS_STORAGE_BUCKET_NAME and DATABASE_URL before anything else")
        else:
            yield ok(subject, "the bucket belongs to this database")


def page_lines(origin: str) -> Iterable[CheckResult]:
    subject = f"CORS from {origin}"
    try:
        found = preflight(origin, PUT_HEADERS[settings.S3_CHECKSUMS])
    except S3ResponseError as said:
        yield fail(subject, f"a browser gets no answer ({said.code})", "look at AWS_ENDPOINT_URL_S3 as browsers see it")
        return
    if found.is_allowed:
        yield ok(subject, "a browser may send files")
    else:
        yield fail(subject, f"a browser will not send files: {found.reason}", REPAIR_HINT)


def stranger_lines() -> Iterable[CheckResult]:
    """Only with a signed URL could they send anything, and that is given to nobody but our own pages."""
    subject = f"CORS from {STRANGER}"
    try:
        found = preflight(STRANGER, PUT_HEADERS["off"])
    except S3ResponseError as said:
        yield fail(subject, f"a browser gets no answer ({said.code})", "look at AWS_ENDPOINT_URL_S3 as browsers see it")
        return
    if not found.is_allowed:
        yield ok(subject, f"a stranger's page is kept out: {found.reason}")
    elif is_loopback(urlsplit(settings.S3_ORIGIN).hostname):
        yield ok(subject, "any page may send what it has a URL for; the store is on this machine alone")
    else:
        yield fail(subject, "any page may send what it has a URL for", REPAIR_HINT)


def trial_lines() -> Iterable[CheckResult]:
    """Digests, then conditional requests: what keeps the first trial from its end would be told twice."""
    lines = list(digest_lines())
    yield from lines
    if all(line.level is not Level.FAIL for line in lines):
        yield from condition_lines()


def digest_lines() -> Iterable[CheckResult]:
    subject, mode = "digests", settings.S3_CHECKSUMS
    try:
        clear_leftovers()
        tried = {one: probe_checksum_mode(one) for one in MODES}
    except S3ResponseError as said:
        advice = f"allow {RIGHTS[said.operation]}" if said.is_denied else "wait for the store, and ask again"
        yield fail(subject, f"the trial broke off at {said.operation}: {said.code}", advice)
        return
    best = next((one for one in MODES if tried[one].honors(one)), None)
    if best is None:
        if any(word in tried["off"].fault for word in FULL):
            yield fail(
                subject, "the store is full, or a quota of it is used up", "give it room: nothing can be uploaded"
            )
            return
        denied = any(word in tried["off"].fault for word in DENIED)
        advice = f"allow {RIGHTS['PutObject']}" if denied else "look at the store's log"
        yield fail(subject, f"not even a plain upload works: {tried['off'].fault}", advice)
    elif not tried[mode].honors(mode):
        yield fail(subject, f"S3_CHECKSUMS={mode} is set, and the store does not honour it: {_short(tried[mode])}",
                   f"set S3_CHECKSUMS={best}: {MEANS[best]}")  # fmt: skip
    elif best != mode:
        yield warn(subject, f"S3_CHECKSUMS={mode}: {MEANS[mode]}", f"set S3_CHECKSUMS={best}: {MEANS[best]}")
    else:
        honoured = ", ".join(one for one in MODES if tried[one].honors(one))
        yield ok(subject, f"S3_CHECKSUMS={mode}: {MEANS[mode]} (tried; the store honours {honoured})")
    if best and not tried[best].refuses_longer:
        yield fail(subject, "it takes more bytes than a URL was signed for", "use a store that checks signatures")


def _short(tried: ProbeResult) -> str:
    if tried.fault:
        return tried.fault
    if not tried.refuses_flipped:
        return "a flipped bit is taken"
    if not tried.refuses_flipped_part:
        return "a flipped bit is taken in a part"
    return "it keeps no digest"


def condition_lines() -> Iterable[CheckResult]:
    subject = "conditional requests"
    try:
        honored = probe_conditions()
    except S3ResponseError as said:
        advice = f"allow {RIGHTS[said.operation]}" if said.is_denied else "wait for the store, and ask again"
        yield fail(subject, f"the trial broke off at {said.operation}: {said.code}", advice)
        return
    chosen = settings.S3_CONDITIONS
    for word, what in CONDITIONS.items():
        if word in chosen - honored:
            told = f"S3_CONDITIONS has {word}, but the storage does not honor {what}"
            yield fail(subject, told, f"set S3_CONDITIONS={_words(chosen & honored)}")
        elif word in honored - chosen:
            yield warn(subject, f"the storage honors {what}", f"set S3_CONDITIONS={_words(chosen & honored | {word})}")
    if chosen == honored:
        yield ok(subject, f"S3_CONDITIONS={_words(chosen)}: all that the storage honors (tried)")


def _words(conditions: Iterable[str]) -> str:
    return ",".join(sorted(conditions)) or "off"


def owner_lines() -> Iterable[CheckResult]:
    """Whose bucket it is was already asked for: without the right owner nothing gets here."""
    subject, owner = "bucket owner", settings.S3_BUCKET_OWNER
    if not owner:
        advice = "set S3_BUCKET_OWNER to the 12 digits of the bucket's account"
        unset = "calls do not say whose bucket they expect"
        yield warn(subject, unset, advice) if at_aws() else ok(subject, f"{unset} (S3_BUCKET_OWNER is not set)")
        return
    try:
        calls, urls = honors_owner()
    except S3ResponseError as said:
        yield fail(
            subject, f"the trial broke off at {said.operation}: {said.code}", "wait for the store, and ask again"
        )
        return
    if not calls:
        yield fail(subject, "S3_BUCKET_OWNER is set, but the storage ignores it", "remove S3_BUCKET_OWNER")
    elif not urls:
        yield warn(
            subject, f"calls are held to account {owner}, but signed URLs are not", "use a store that checks both"
        )
    else:
        yield ok(subject, f"the bucket belongs to account {owner}, and the storage refuses any other (tried)")
