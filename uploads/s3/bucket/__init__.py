"""Bucket settings: their current state, their desired state, and how to apply it. Knows no models."""

from uploads.s3.bucket.lifecycle import archive_tiers, lifecycle_conflicts, unknown_classes
from uploads.s3.bucket.policies import PUT_HEADERS, URL_VALID_MILLISECONDS, BucketSpec
from uploads.s3.bucket.settings import (
    BUCKET_SETTINGS,
    BucketSetting,
    SettingDiff,
    SettingStatus,
    apply_setting,
    bucket_region,
    compare_setting,
    is_own_bucket,
    make_bucket,
    partition,
    tiering_configurations,
)

__all__ = [
    "BUCKET_SETTINGS",
    "PUT_HEADERS",
    "URL_VALID_MILLISECONDS",
    "BucketSetting",
    "BucketSpec",
    "SettingDiff",
    "SettingStatus",
    "apply_setting",
    "archive_tiers",
    "bucket_region",
    "compare_setting",
    "is_own_bucket",
    "lifecycle_conflicts",
    "make_bucket",
    "partition",
    "tiering_configurations",
    "unknown_classes",
]
