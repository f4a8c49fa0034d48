"""Create and configure the bucket."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from uuid import UUID

from django.conf import settings

from uploads import s3
from uploads.errors import StorageDenied, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import Installation
from uploads.s3.bucket import (
    BUCKET_SETTINGS,
    BucketSpec,
    SettingDiff,
    SettingStatus,
    apply_setting,
    bucket_region,
    compare_setting,
    is_own_bucket,
    make_bucket,
)
from uploads.s3.errors import S3ResponseError

logger = logging.getLogger(__name__)


def provision(spec: BucketSpec, *, apply: bool = False, adopt: UUID | None = None) -> Iterator[SettingDiff]:
    """Compare each setting of the bucket with `spec`, the marker last, and yield the results; with `apply`, fix it.

    `adopt` is the marker of another database to replace with ours. Raises WrongMarker and ValidationFailed before
    anything is written, and StorageUnavailable when the storage is unavailable. Safe to repeat.
    """
    own = Installation.objects.own_id()
    exists = _bucket_exists()
    marker = s3.read_marker() if exists else None
    _require_own_marker(marker, own, adopt)
    bucket = SettingDiff("bucket", SettingStatus.AS_WANTED) if exists else _create(apply=apply)
    yield bucket
    if bucket.status not in {SettingStatus.AS_WANTED, SettingStatus.APPLIED}:
        return
    for setting in BUCKET_SETTINGS:
        diff = compare_setting(setting, spec)
        yield apply_setting(setting, spec, diff) if apply and diff.status is SettingStatus.DIFFERS else diff
    yield _write_marker(marker, own, apply=apply)


def _bucket_exists() -> bool:
    region = bucket_region()
    if region and region != settings.S3_REGION:
        raise ValidationFailed(
            f"The bucket {settings.S3_BUCKET} is in the region {region}: set AWS_DEFAULT_REGION={region}."
        )
    return region is not None


def _create(*, apply: bool) -> SettingDiff:
    subject, name = "bucket", settings.S3_BUCKET
    lines = [(name, "none", f"a bucket in {settings.S3_REGION}")]
    if not apply:
        return SettingDiff(subject, SettingStatus.DIFFERS, lines)
    try:
        make_bucket()
    except S3ResponseError as error:
        reason = f"{name} could not be made: {error.code}"
        return SettingDiff(subject, SettingStatus.FAILED, lines, reason, _creation_advice(error))
    logger.info("bucket_created bucket=%s", name)
    return SettingDiff(subject, SettingStatus.APPLIED, lines)


def _creation_advice(error: S3ResponseError) -> str:
    if error.is_denied:
        return "allow s3:CreateBucket, or have somebody make it"
    is_taken = error.code in {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"} and is_own_bucket() is not True
    return "somebody else has that name: choose another" if is_taken else "look that up at the store"


def _require_own_marker(marker: UUID | None, own: UUID, adopt: UUID | None) -> None:
    if adopt is not None and adopt != marker:
        current = f"the marker {marker}" if marker else "no marker"
        raise ValidationFailed(f"The bucket has {current}, not {adopt}: nothing was done.")
    if marker in {None, own, adopt}:
        return
    raise WrongMarker(
        f"This bucket belongs to another database: its marker says {marker}, this database is {own}. Nothing was done. "
        "Check AWS_STORAGE_BUCKET_NAME and DATABASE_URL. If that database is gone, and the bucket is to belong to this "
        f"one from now on, say so: --adopt-marker {marker}"
    )


def _write_marker(marker: UUID | None, own: UUID, *, apply: bool) -> SettingDiff:
    subject = "marker"
    if marker == own:
        return SettingDiff(subject, SettingStatus.AS_WANTED)
    lines = [(s3.MARKER_KEY, str(marker) if marker else "none", str(own))]
    if not apply:
        return SettingDiff(subject, SettingStatus.DIFFERS, lines)
    try:
        if s3.read_marker() != marker:
            return SettingDiff(
                subject, SettingStatus.FAILED, lines, "somebody else marked the bucket meanwhile", "run this again"
            )
        s3.write_marker(own)
    except StorageUnavailable as fault:
        reason = f"could not be written: {fault.detail.partition(': ')[2]}"
        advice = "allow s3:PutObject" if isinstance(fault, StorageDenied) else "run this again"
        return SettingDiff(subject, SettingStatus.FAILED, lines, reason, advice)
    logger.info("bucket_marked bucket=%s installation=%s previous=%s", settings.S3_BUCKET, own, marker)
    return SettingDiff(subject, SettingStatus.APPLIED, lines)
