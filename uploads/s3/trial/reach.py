"""Whether the store answers at all, and what its clock says."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from django.conf import settings

from uploads.s3.asked import asking
from uploads.s3.client import client


def reach() -> datetime | None:
    """List one key, and return the store's time; None if it does not tell. Raises Said, which has the time as well."""
    with asking("ListObjectsV2"):
        answer = client().list_objects_v2(Bucket=settings.S3_BUCKET, MaxKeys=1)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return moment(headers.get("date", ""))


def moment(date: str) -> datetime | None:
    """A `Date:` header (RFC 9110) as a time."""
    try:
        found = parsedate_to_datetime(date)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
