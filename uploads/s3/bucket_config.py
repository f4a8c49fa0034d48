"""Settings of a bucket: read, compared with the desired ones, and applied. Knows no models."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from botocore.exceptions import BotoCoreError
from django.conf import settings

from uploads.s3 import bucket_policies
from uploads.s3.bucket_policies import BucketSpec, Description
from uploads.s3.client import client, main_store, session_of
from uploads.s3.errors import NO_BUCKET, S3ResponseError, raw_call

# the response has these beside the document, and a put must repeat them
BESIDE = {"TransitionDefaultMinimumObjectSize"}


@dataclass(frozen=True, kw_only=True)
class BucketSetting:
    """One setting of a bucket.

    `call` is boto3's name after get_ and put_, `right` is IAM's name after s3:Get and s3:Put. `absent` is the error
    code for a setting that was never set, "" where the response is empty then. A put takes the document as
    `argument`, and a response has it under that name too, unless `response_is_document`. `without`: what to do
    where a store does not have this setting.
    """

    subject: str
    call: str
    right: str
    argument: str
    desired: Callable[[Any, BucketSpec], Any]
    describe: Callable[[Any, BucketSpec], Description]
    without: str
    absent: str = ""
    response_is_document: bool = False

    def document(self, response: dict[str, Any]) -> Any:
        if self.response_is_document:
            return {name: value for name, value in response.items() if name != "ResponseMetadata"}
        document = response.get(self.argument)
        return json.loads(document) if isinstance(document, str) else document

    def put_arguments(self, document: Any) -> dict[str, Any]:
        """Return the arguments of the put."""
        if self.argument == "Policy":
            return {self.argument: json.dumps(document)}
        inside = {name: value for name, value in document.items() if name not in BESIDE}
        beside = {name: value for name, value in document.items() if name in BESIDE}
        return {self.argument: inside, **beside}


BUCKET_SETTINGS = (
    BucketSetting(
        subject="public access",
        call="public_access_block",
        right="BucketPublicAccessBlock",
        argument="PublicAccessBlockConfiguration",
        absent="NoSuchPublicAccessBlockConfiguration",
        desired=bucket_policies.desired_blocks,
        describe=bucket_policies.describe_blocks,
        without="make sure that the bucket cannot be read without a signature",
    ),
    BucketSetting(
        subject="object ownership",
        call="bucket_ownership_controls",
        right="BucketOwnershipControls",
        argument="OwnershipControls",
        absent="OwnershipControlsNotFoundError",
        desired=bucket_policies.desired_owner,
        describe=bucket_policies.describe_owner,
        without="make sure that objects cannot have their own access lists",
    ),
    BucketSetting(
        subject="policy",
        call="bucket_policy",
        right="BucketPolicy",
        argument="Policy",
        absent="NoSuchBucketPolicy",
        desired=bucket_policies.desired_policy,
        describe=bucket_policies.describe_policy,
        without="let it accept https requests only",
    ),
    BucketSetting(
        subject="encryption",
        call="bucket_encryption",
        right="EncryptionConfiguration",
        argument="ServerSideEncryptionConfiguration",
        absent="ServerSideEncryptionConfigurationNotFoundError",
        desired=bucket_policies.desired_encryption,
        describe=bucket_policies.describe_encryption,
        without="encrypt its disks",
    ),
    BucketSetting(
        subject="versioning",
        call="bucket_versioning",
        right="BucketVersioning",
        argument="VersioningConfiguration",
        response_is_document=True,
        desired=bucket_policies.desired_versions,
        describe=bucket_policies.describe_versions,
        without="back up the bucket: deleted and overwritten objects cannot be restored",
    ),
    BucketSetting(
        subject="lifecycle",
        call="bucket_lifecycle_configuration",
        right="LifecycleConfiguration",
        argument="LifecycleConfiguration",
        absent="NoSuchLifecycleConfiguration",
        response_is_document=True,
        desired=bucket_policies.desired_lifecycle,
        describe=bucket_policies.describe_lifecycle,
        without="keep `manage.py sweep` running: only it deletes unfinished uploads",
    ),
    BucketSetting(
        subject="CORS",
        call="bucket_cors",
        right="BucketCORS",
        argument="CORSConfiguration",
        absent="NoSuchCORSConfiguration",
        response_is_document=True,
        desired=bucket_policies.desired_cors,
        describe=bucket_policies.describe_cors,
        without="configure CORS on its server; `manage.py doctor` tests it",
    ),
)


class SettingStatus(StrEnum):
    MATCHES = "ok"
    DIFFERS = "differs"
    LACKING = "lacking"  # the storage does not have this setting
    UNKNOWN = "unknown"  # it could not be read
    FAILED = "failed"  # it could not be written
    APPLIED = "applied"


@dataclass(frozen=True)
class SettingDiff:
    """The comparison of one setting. `lines` are its differences as (name, current, desired); `reason` and `advice` are
    text for an operator."""

    subject: str
    status: SettingStatus
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    reason: str = ""
    advice: str = ""
    now: Any = None  # the storage's current document
    desired: Any = None


def compare_setting(setting: BucketSetting, spec: BucketSpec) -> SettingDiff:
    """Compare a setting of the bucket with the spec. Errors of the storage are in the result, not raised."""
    try:
        current = _read(setting, spec.bucket)
        desired = setting.desired(current, spec)
        lines = _differences(setting.describe(current, spec), setting.describe(desired, spec))
    except S3ResponseError as error:
        return _failed(setting, error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason = "the response of the storage is invalid"
        return SettingDiff(
            setting.subject,
            SettingStatus.UNKNOWN,
            reason=reason,
            advice="check this setting in the storage's own console",
        )
    status = SettingStatus.DIFFERS if lines else SettingStatus.MATCHES
    return SettingDiff(setting.subject, status, lines, now=current, desired=desired)


def apply_setting(setting: BucketSetting, spec: BucketSpec, diff: SettingDiff) -> SettingDiff:
    """Write the differences of `diff`. Safe to repeat. Errors of the storage are in the result, not raised."""
    try:
        with raw_call(f"put_{setting.call}"):
            getattr(client(), f"put_{setting.call}")(Bucket=spec.bucket, **setting.put_arguments(diff.desired))
    except S3ResponseError as error:
        return _failed(setting, error, diff)
    return SettingDiff(setting.subject, SettingStatus.APPLIED, diff.lines)


def tiering_configurations(bucket: str) -> list[Any]:
    """Return the bucket's Intelligent-Tiering configurations; none where the storage does not support them.

    Raises S3ResponseError.
    """
    configurations: list[Any] = []
    page: dict[str, Any] = {}
    while True:
        try:
            response = _request("list_bucket_intelligent_tiering_configurations", Bucket=bucket, **page)
        except S3ResponseError as error:
            if error.is_unsupported:
                return []
            raise
        configurations += response.get("IntelligentTieringConfigurationList") or []
        if not (response.get("IsTruncated") and response.get("NextContinuationToken")):
            return configurations
        page = {"ContinuationToken": response["NextContinuationToken"]}


def _read(setting: BucketSetting, bucket: str) -> Any:
    try:
        response = _request(f"get_{setting.call}", Bucket=bucket)
    except S3ResponseError as error:
        if setting.absent and error.code == setting.absent:
            return None
        raise
    return setting.document(response)


def _request(call: str, **arguments: Any) -> Any:
    s3 = client()
    operation = s3.meta.method_to_api_mapping[call]
    s3.meta.events.register(f"before-parse.s3.{operation}", _refuse_listing, unique_id=f"amalga-{operation}")
    with raw_call(operation):
        return getattr(s3, call)(**arguments)


def _refuse_listing(operation_model: Any, response_dict: Any, **_: Any) -> None:
    """Refuse a listing: some stores ignore the query and list the bucket, which boto3 would read as "not set"."""
    with contextlib.suppress(TypeError):
        if response_dict["status_code"] < 300 and b"<ListBucketResult" in response_dict["body"][:1000]:
            raise S3ResponseError(operation_model.name, "NotImplemented")


def _differences(current: dict[str, str], desired: dict[str, str]) -> list[tuple[str, str, str]]:
    names = {**current, **desired}
    lines = [(name, current.get(name, "not set"), desired.get(name, "not set")) for name in names]
    return [line for line in lines if line[1] != line[2]]


def _failed(setting: BucketSetting, error: S3ResponseError, diff: SettingDiff | None = None) -> SettingDiff:
    lines = diff.lines if diff else []
    if error.is_unsupported:
        reason = "not supported by this storage"
        return SettingDiff(setting.subject, SettingStatus.LACKING, reason=reason, advice=setting.without)
    status = SettingStatus.FAILED if diff else SettingStatus.UNKNOWN
    verb, right = ("written", f"s3:Put{setting.right}") if diff else ("read", f"s3:Get{setting.right}")
    if error.is_denied:
        return SettingDiff(setting.subject, status, lines, f"access denied, could not be {verb}", f"allow {right}")
    return SettingDiff(
        setting.subject,
        status,
        lines,
        f"could not be {verb}: {error.code}",
        "look up this error in the storage's documentation",
    )


def bucket_region() -> str | None:
    """Return the region of the bucket, "" if the storage does not say; None if there is no bucket.

    Raises S3ResponseError.
    """
    try:
        with raw_call("HeadBucket"):
            response: Any = client().head_bucket(Bucket=settings.S3_BUCKET)
    except S3ResponseError as error:
        if error.code in NO_BUCKET:
            return None
        raise
    return str(response.get("BucketRegion") or "")


def is_own_bucket() -> bool | None:
    """Return whether these credentials own the bucket; None if they cannot list buckets."""
    try:
        with raw_call("ListBuckets"):
            return any(bucket.get("Name") == settings.S3_BUCKET for bucket in client().list_buckets()["Buckets"])
    except S3ResponseError:
        return None


def make_bucket() -> None:
    """Create the bucket in the region of the settings. Raises S3ResponseError, also for a name that is taken."""
    location: Any = {"LocationConstraint": settings.S3_REGION}
    extra: dict[str, Any] = {} if settings.S3_REGION == "us-east-1" else {"CreateBucketConfiguration": location}
    with raw_call("CreateBucket"):
        client().create_bucket(Bucket=settings.S3_BUCKET, **extra)


def partition() -> str:
    """Return the partition of ARNs; `aws` for S3-compatible stores."""
    try:
        return session_of(main_store()).get_partition_for_region(settings.S3_REGION)
    except BotoCoreError:
        return "aws"
