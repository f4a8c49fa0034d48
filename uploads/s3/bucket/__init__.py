"""How a bucket is set up: what is, what should be, and how to get there. Knows no row and no setting of the site."""

from uploads.s3.bucket.lifecycle import archive_tiers, lifecycle_conflicts, unknown_classes
from uploads.s3.bucket.policies import PUT_HEADERS, URL_VALID_MILLISECONDS, BucketSpec
from uploads.s3.bucket.settings import (
    POINTS,
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
    "POINTS",
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
