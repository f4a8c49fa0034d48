"""The configured stores: the main one for new files and, while an installation moves, a second one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from uploads.errors import StorageUnavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Store:
    """A bucket and how to reach it. Without keys of its own, boto3 searches for credentials as usual."""

    name: str  # as in the database
    bucket: str
    endpoint: str | None
    region: str
    addressing: str
    checksums: str  # as in S3_CHECKSUMS
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    conditions: frozenset[str] = frozenset()  # as in S3_CONDITIONS
    bucket_owner: str = ""  # the account that the bucket must belong to; empty for any

    @property
    def keeps_digests(self) -> bool:
        return self.checksums == "sha256"

    @property
    def signs_payloads(self) -> bool:
        return self.checksums == "payload"

    def if_absent(self, operation: str) -> dict[str, Any]:
        """Return arguments that let boto3's `complete` or `copy` write only where no object exists; empty where the
        store does not support that. An existing object then gives 412 PreconditionFailed."""
        return {"IfNoneMatch": "*"} if operation in self.conditions else {}

    def if_unchanged(self, etag: str) -> str:
        """Return the ETag, without quotes, for a conditional delete; empty where the storage does not support that, or
        without an ETag."""
        return etag if "delete" in self.conditions else ""

    @property
    def as_source(self) -> dict[str, Any]:
        """Return boto3's arguments for a copy from this bucket."""
        return {"ExpectedSourceBucketOwner": self.bucket_owner} if self.bucket_owner else {}


def main_store() -> Store:
    """Return the store of the AWS_* variables. Settings are read on every call, because tests change them."""
    return Store(
        settings.S3_STORE_NAME,
        settings.S3_BUCKET,
        settings.S3_ENDPOINT,
        settings.S3_REGION,
        settings.S3_ADDRESSING,
        settings.S3_CHECKSUMS,
        conditions=settings.S3_CONDITIONS,
        bucket_owner=settings.S3_BUCKET_OWNER,
    )


def secondary_store() -> Store | None:
    """Return the store of the SECONDARY_S3_* variables; None unless files are being moved."""
    return Store(**settings.SECONDARY_S3) if settings.SECONDARY_S3 else None


def store_named(name: str | None) -> Store:
    """Return the store of this name in the database; None is the main store.

    Raises StorageUnavailable for a name that is not in the settings: the files there are intact.
    """
    if name is None or name == settings.S3_STORE_NAME:
        return main_store()
    other = secondary_store()
    if other is not None and other.name == name:
        return other
    logger.error(
        'storage_unknown name="%s": some files are in a storage that is not configured. Set S3_STORE_NAME to that '
        "name, or configure it with SECONDARY_S3_STORE_NAME and the other SECONDARY_S3_* variables.",
        name,
    )
    raise StorageUnavailable(f"unknown storage {name!r}")
