"""Whether there is a bucket, where it is, and making one."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError
from django.conf import settings

from uploads.s3.asked import NO_BUCKET, Said, asking
from uploads.s3.client import client, session_of
from uploads.s3.stores import main_store


def bucket_region() -> str | None:
    """Where the bucket is, "" if the store does not say; None if there is none. Raises Said."""
    try:
        with asking("HeadBucket"):
            answer: Any = client().head_bucket(Bucket=settings.S3_BUCKET)
    except Said as said:
        if said.code in NO_BUCKET:
            return None
        raise
    return str(answer.get("BucketRegion") or "")


def listed_among_ours() -> bool | None:
    """Whether the bucket is one of those that these credentials own; None if they may not ask."""
    try:
        with asking("ListBuckets"):
            return any(one.get("Name") == settings.S3_BUCKET for one in client().list_buckets()["Buckets"])
    except Said:
        return None


def make_bucket() -> None:
    """Make the bucket, in the region of the settings. Raises Said: also when somebody else has that name."""
    where: Any = {"LocationConstraint": settings.S3_REGION}
    extra: dict[str, Any] = {} if settings.S3_REGION == "us-east-1" else {"CreateBucketConfiguration": where}
    with asking("CreateBucket"):
        client().create_bucket(Bucket=settings.S3_BUCKET, **extra)


def partition() -> str:
    """The first word of every ARN; that of Amazon's for stores that only speak like it."""
    try:
        return session_of(main_store()).get_partition_for_region(settings.S3_REGION)
    except BotoCoreError:
        return "aws"
