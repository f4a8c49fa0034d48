"""Which stores there are: the one that new files go to and, while an installation moves, one other."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from uploads.errors import StorageUnavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Store:
    """A bucket and the way to it. Without keys of its own, boto3 finds some as it always does."""

    name: str  # as rows have it
    bucket: str
    endpoint: str | None
    region: str
    addressing: str
    checksums: str  # as S3_CHECKSUMS
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    conditions: frozenset[str] = frozenset()  # as S3_CONDITIONS
    bucket_owner: str = ""  # the account that the bucket must belong to; empty for any

    @property
    def keeps_digests(self) -> bool:
        return self.checksums == "sha256"

    @property
    def signs_payloads(self) -> bool:
        return self.checksums == "payload"

    def if_absent(self, operation: str) -> dict[str, Any]:
        """What makes boto3's call of `complete` or `copy` write only where no object is yet; nothing where the store
        does not know that. It says 412 PreconditionFailed otherwise."""
        return {"IfNoneMatch": "*"} if operation in self.conditions else {}

    def if_unchanged(self, etag: str) -> str:
        """The ETag, without quotes, that makes the store remove only that object; empty where it does not know that,
        or where none is known."""
        return etag if "delete" in self.conditions else ""

    @property
    def as_source(self) -> dict[str, Any]:
        """What boto3's copies say of the bucket that they read."""
        return {"ExpectedSourceBucketOwner": self.bucket_owner} if self.bucket_owner else {}


def main_store() -> Store:
    """The store of the variables AWS_*. Read anew each time: settings are not the same all through the tests."""
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
    """The store of the variables OTHER_S3_*, which is only there while files are moved."""
    return Store(**settings.OTHER_S3) if settings.OTHER_S3 else None


def store_named(name: str | None) -> Store:
    """The store that rows call so; None is the main one.

    Raises StorageUnavailable for a name that the settings do not know: nothing is wrong with the files there.
    """
    if name is None or name == settings.S3_STORE_NAME:
        return main_store()
    other = secondary_store()
    if other is not None and other.name == name:
        return other
    logger.error(
        'store_unknown name="%s": rows name a store that the settings do not know. Give it back by OTHER_S3_STORE_NAME '
        "and the other variables OTHER_S3_*, or, if it is the main one, by S3_STORE_NAME.",
        name,
    )
    raise StorageUnavailable(f"unknown store {name!r}")
