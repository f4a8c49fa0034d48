"""Make the bucket as it should be."""

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


def provision(aims: BucketSpec, *, apply: bool = False, adopt: UUID | None = None) -> Iterator[SettingDiff]:
    """Compare the bucket with its aims point by point, the marker last; with `apply`, put right what differs.

    `adopt` is the marker of another database that gives way to ours. Raises WrongMarker and ValidationFailed before
    anything is written, StorageUnavailable when the store cannot be asked at all. Safe to repeat.
    """
    own = Installation.objects.own_id()
    there = _is_there()
    found = s3.read_marker() if there else None
    _require_right_to_mark(found, own, adopt)
    bucket = SettingDiff("bucket", SettingStatus.AS_WANTED) if there else _made(apply=apply)
    yield bucket
    if bucket.status not in {SettingStatus.AS_WANTED, SettingStatus.APPLIED}:
        return
    for point in BUCKET_SETTINGS:
        looked = compare_setting(point, aims)
        yield apply_setting(point, aims, looked) if apply and looked.status is SettingStatus.DIFFERS else looked
    yield _marker(found, own, apply=apply)


def _is_there() -> bool:
    region = bucket_region()
    if region and region != settings.S3_REGION:
        raise ValidationFailed(
            f"The bucket {settings.S3_BUCKET} is in the region {region}: set AWS_DEFAULT_REGION={region}."
        )
    return region is not None


def _made(*, apply: bool) -> SettingDiff:
    subject, name = "bucket", settings.S3_BUCKET
    lines = [(name, "none", f"a bucket in {settings.S3_REGION}")]
    if not apply:
        return SettingDiff(subject, SettingStatus.DIFFERS, lines)
    try:
        make_bucket()
    except S3ResponseError as said:
        reason = f"{name} could not be made: {said.code}"
        return SettingDiff(subject, SettingStatus.FAILED, lines, reason, _why_not_made(said))
    logger.info("bucket_made bucket=%s", name)
    return SettingDiff(subject, SettingStatus.APPLIED, lines)


def _why_not_made(said: S3ResponseError) -> str:
    if said.is_denied:
        return "allow s3:CreateBucket, or have somebody make it"
    taken = said.code in {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"} and is_own_bucket() is not True
    return "somebody else has that name: choose another" if taken else "look that up at the store"


def _require_right_to_mark(found: UUID | None, own: UUID, adopt: UUID | None) -> None:
    if adopt is not None and adopt != found:
        has = f"the marker {found}" if found else "no marker"
        raise ValidationFailed(f"The bucket has {has}, not {adopt}: nothing was done.")
    if found in {None, own, adopt}:
        return
    raise WrongMarker(
        f"This bucket belongs to another database: its marker says {found}, this database is {own}. Nothing was done. "
        "Check AWS_STORAGE_BUCKET_NAME and DATABASE_URL. If that database is gone, and the bucket is to belong to this "
        f"one from now on, say so: --adopt-marker {found}"
    )


def _marker(found: UUID | None, own: UUID, *, apply: bool) -> SettingDiff:
    subject = "marker"
    if found == own:
        return SettingDiff(subject, SettingStatus.AS_WANTED)
    lines = [(s3.MARKER_KEY, str(found) if found else "none", str(own))]
    if not apply:
        return SettingDiff(subject, SettingStatus.DIFFERS, lines)
    try:
        if s3.read_marker() != found:
            return SettingDiff(
                subject, SettingStatus.FAILED, lines, "somebody else marked the bucket meanwhile", "run this again"
            )
        s3.write_marker(own)
    except StorageUnavailable as fault:
        reason = f"could not be written: {fault.detail.partition(': ')[2]}"
        advice = "allow s3:PutObject" if isinstance(fault, StorageDenied) else "run this again"
        return SettingDiff(subject, SettingStatus.FAILED, lines, reason, advice)
    logger.info("bucket_marked bucket=%s installation=%s instead_of=%s", settings.S3_BUCKET, own, found)
    return SettingDiff(subject, SettingStatus.APPLIED, lines)
