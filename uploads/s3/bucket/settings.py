"""Settings of a bucket: read, compared and applied."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError
from django.conf import settings

from uploads.s3.bucket import lifecycle, policies
from uploads.s3.bucket.policies import BucketSpec
from uploads.s3.client import client, session_of
from uploads.s3.errors import NO_BUCKET, S3ResponseError, raw_call
from uploads.s3.stores import main_store

# what an answer holds beside the document, and a put must be told again
BESIDE = {"TransitionDefaultMinimumObjectSize"}


@dataclass(frozen=True, kw_only=True)
class BucketSetting:
    """One setting of a bucket.

    `call` is what boto3 names it behind get_ and put_, `right` what IAM names it behind s3:Get and s3:Put. `absent` is
    S3's word for "was never set", "" where that is an empty answer. A put takes the document as `argument`, and an
    answer has it under that name too, unless the `answer_is_document`. `without`: what to do where a store has no such
    thing.
    """

    subject: str
    call: str
    right: str
    argument: str
    wanted: Callable[[Any, BucketSpec], Any]
    tell: Callable[[Any, BucketSpec], policies.Told]
    without: str
    absent: str = ""
    answer_is_document: bool = False

    def document(self, answer: dict[str, Any]) -> Any:
        if self.answer_is_document:
            return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
        found = answer.get(self.argument)
        return json.loads(found) if isinstance(found, str) else found

    def sent(self, document: Any) -> dict[str, Any]:
        """The arguments of the put."""
        if self.argument == "Policy":
            return {self.argument: json.dumps(document)}
        inside = {name: value for name, value in document.items() if name not in BESIDE}
        beside = {name: value for name, value in document.items() if name in BESIDE}
        return {self.argument: inside, **beside}


POINTS = (
    BucketSetting(
        subject="public access",
        call="public_access_block",
        right="BucketPublicAccessBlock",
        argument="PublicAccessBlockConfiguration",
        absent="NoSuchPublicAccessBlockConfiguration",
        wanted=policies.desired_blocks,
        tell=policies.describe_blocks,
        without="make sure by its own means that nobody reads the bucket without a signature",
    ),
    BucketSetting(
        subject="object ownership",
        call="bucket_ownership_controls",
        right="BucketOwnershipControls",
        argument="OwnershipControls",
        absent="OwnershipControlsNotFoundError",
        wanted=policies.desired_owner,
        tell=policies.describe_owner,
        without="make sure that no object gets an access list of its own",
    ),
    BucketSetting(
        subject="policy",
        call="bucket_policy",
        right="BucketPolicy",
        argument="Policy",
        absent="NoSuchBucketPolicy",
        wanted=policies.desired_policy,
        tell=policies.describe_policy,
        without="let it answer by https alone",
    ),
    BucketSetting(
        subject="encryption",
        call="bucket_encryption",
        right="EncryptionConfiguration",
        argument="ServerSideEncryptionConfiguration",
        absent="ServerSideEncryptionConfigurationNotFoundError",
        wanted=policies.desired_encryption,
        tell=policies.describe_encryption,
        without="encrypt its disks",
    ),
    BucketSetting(
        subject="versioning",
        call="bucket_versioning",
        right="BucketVersioning",
        argument="VersioningConfiguration",
        answer_is_document=True,
        wanted=lifecycle.desired_versions,
        tell=lifecycle.describe_versions,
        without="what is overwritten or removed cannot be brought back: back the bucket up",
    ),
    BucketSetting(
        subject="lifecycle",
        call="bucket_lifecycle_configuration",
        right="LifecycleConfiguration",
        argument="LifecycleConfiguration",
        absent="NoSuchLifecycleConfiguration",
        answer_is_document=True,
        wanted=lifecycle.desired_lifecycle,
        tell=lifecycle.describe_lifecycle,
        without="only `manage.py sweep` clears unfinished uploads away: keep it running",
    ),
    BucketSetting(
        subject="CORS",
        call="bucket_cors",
        right="BucketCORS",
        argument="CORSConfiguration",
        absent="NoSuchCORSConfiguration",
        answer_is_document=True,
        wanted=lifecycle.desired_cors,
        tell=lifecycle.describe_cors,
        without="let its server answer our pages' preflights; `manage.py doctor` asks as a browser does",
    ),
)


class SettingStatus(StrEnum):
    AS_WANTED = "as wanted"
    DIFFERS = "differs"
    LACKING = "lacking"  # the store has no such thing
    UNKNOWN = "unknown"  # it could not be read
    FAILED = "failed"  # it could not be written
    APPLIED = "applied"


@dataclass(frozen=True)
class SettingDiff:
    """One point as it stands. `lines`: what differs, as (what, now, wanted). `reason` and `advice` in words."""

    subject: str
    standing: SettingStatus
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    reason: str = ""
    advice: str = ""
    now: Any = None  # the store's own document
    wanted: Any = None


def compare_setting(point: BucketSetting, aims: BucketSpec) -> SettingDiff:
    """Never raises for what the store says; that stands in the answer."""
    try:
        now = _read(point, aims.bucket)
        wanted = point.wanted(now, aims)
        lines = _differences(point.tell(now, aims), point.tell(wanted, aims))
    except S3ResponseError as said:
        return _failed(point, said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason = "the store's answer makes no sense"
        return SettingDiff(
            point.subject, SettingStatus.UNKNOWN, reason=reason, advice="look at it by the store's own means"
        )
    standing = SettingStatus.DIFFERS if lines else SettingStatus.AS_WANTED
    return SettingDiff(point.subject, standing, lines, now=now, wanted=wanted)


def apply_setting(point: BucketSetting, aims: BucketSpec, looked: SettingDiff) -> SettingDiff:
    """Write what `looked` found to differ. Safe to repeat; never raises for what the store says."""
    try:
        with raw_call(f"put_{point.call}"):
            getattr(client(), f"put_{point.call}")(Bucket=aims.bucket, **point.sent(looked.wanted))
    except S3ResponseError as said:
        return _failed(point, said, looked)
    return SettingDiff(point.subject, SettingStatus.APPLIED, looked.lines)


def tiering_configurations(bucket: str) -> list[Any]:
    """The bucket's Intelligent-Tiering configurations; none where the store knows no such thing. Raises Said."""
    found: list[Any] = []
    more: dict[str, Any] = {}
    while True:
        try:
            answer = _request("list_bucket_intelligent_tiering_configurations", Bucket=bucket, **more)
        except S3ResponseError as said:
            if said.is_unsupported:
                return []
            raise
        found += answer.get("IntelligentTieringConfigurationList") or []
        if not (answer.get("IsTruncated") and answer.get("NextContinuationToken")):
            return found
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def _read(point: BucketSetting, bucket: str) -> Any:
    try:
        answer = _request(f"get_{point.call}", Bucket=bucket)
    except S3ResponseError as said:
        if point.absent and said.code == point.absent:
            return None
        raise
    return point.document(answer)


def _request(call: str, **arguments: Any) -> Any:
    s3 = client()
    operation = s3.meta.method_to_api_mapping[call]
    s3.meta.events.register(f"before-parse.s3.{operation}", _refuse_a_listing, unique_id=f"amalga-{operation}")
    with raw_call(operation):
        return getattr(s3, call)(**arguments)


def _refuse_a_listing(operation_model: Any, response_dict: Any, **_: Any) -> None:
    """Some stores overlook the question and list the bucket, which boto3 would read as "nothing is set"."""
    with contextlib.suppress(TypeError):
        if response_dict["status_code"] < 300 and b"<ListBucketResult" in response_dict["body"][:1000]:
            raise S3ResponseError(operation_model.name, "NotImplemented")


def _differences(now: dict[str, str], wanted: dict[str, str]) -> list[tuple[str, str, str]]:
    both = {**now, **wanted}
    lines = [(what, now.get(what, "none"), wanted.get(what, "none")) for what in both]
    return [line for line in lines if line[1] != line[2]]


def _failed(point: BucketSetting, said: S3ResponseError, looked: SettingDiff | None = None) -> SettingDiff:
    lines = looked.lines if looked else []
    if said.is_unsupported:
        reason = f"this store has no {point.subject} setting"
        return SettingDiff(point.subject, SettingStatus.LACKING, reason=reason, advice=point.without)
    standing = SettingStatus.FAILED if looked else SettingStatus.UNKNOWN
    done, right = ("written", f"s3:Put{point.right}") if looked else ("read", f"s3:Get{point.right}")
    if said.is_denied:
        return SettingDiff(point.subject, standing, lines, f"may not be {done} by these credentials", f"allow {right}")
    return SettingDiff(point.subject, standing, lines, f"could not be {done}: {said.code}", "look that up at the store")


def bucket_region() -> str | None:
    """Where the bucket is, "" if the store does not say; None if there is none. Raises Said."""
    try:
        with raw_call("HeadBucket"):
            answer: Any = client().head_bucket(Bucket=settings.S3_BUCKET)
    except S3ResponseError as said:
        if said.code in NO_BUCKET:
            return None
        raise
    return str(answer.get("BucketRegion") or "")


def is_own_bucket() -> bool | None:
    """Whether the bucket is one of those that these credentials own; None if they may not ask."""
    try:
        with raw_call("ListBuckets"):
            return any(one.get("Name") == settings.S3_BUCKET for one in client().list_buckets()["Buckets"])
    except S3ResponseError:
        return None


def make_bucket() -> None:
    """Make the bucket, in the region of the settings. Raises Said: also when somebody else has that name."""
    where: Any = {"LocationConstraint": settings.S3_REGION}
    extra: dict[str, Any] = {} if settings.S3_REGION == "us-east-1" else {"CreateBucketConfiguration": where}
    with raw_call("CreateBucket"):
        client().create_bucket(Bucket=settings.S3_BUCKET, **extra)


def partition() -> str:
    """The first word of every ARN; that of Amazon's for stores that only speak like it."""
    try:
        return session_of(main_store()).get_partition_for_region(settings.S3_REGION)
    except BotoCoreError:
        return "aws"
