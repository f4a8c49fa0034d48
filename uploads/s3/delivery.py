"""How bytes go out: a short signed URL whose headers we fix."""

from __future__ import annotations

import functools
from typing import Any, cast

from django.conf import settings
from django.core.files.storage import Storage, storages
from storages.backends.s3 import S3Storage

from uploads.s3.client import client, config, http, session, told_plainly
from uploads.s3.signing import lifetime

DOWNLOAD_SECONDS = 300


class DeliveryStorage(S3Storage):  # type: ignore[misc]  # storages has no types
    """django-storages over our bucket: its `url()` signs downloads, by S3 or, by settings, by CloudFront."""

    def get_default_settings(self) -> dict[str, Any]:
        return cast(dict[str, Any], super().get_default_settings()) | {
            "bucket_name": settings.S3_BUCKET,
            "endpoint_url": settings.S3_ENDPOINT,
            "region_name": settings.S3_REGION,
            "client_config": config(),
            "default_acl": None,
            "file_overwrite": False,
            "querystring_expire": DOWNLOAD_SECONDS,
        }


@functools.cache
def delivery_storage() -> Storage:
    """The default storage of the settings, made by us so that `reset` can forget it."""
    return storages.create_storage(settings.STORAGES["default"])


def download_url(key: str, *, disposition: str, content_type: str) -> str:
    """A URL for at most five minutes that gives the object with exactly these headers."""
    parameters = {
        "ResponseContentDisposition": disposition,
        "ResponseContentType": content_type,
        "ResponseCacheControl": "private, no-store",
    }
    with told_plainly("Sign"):
        expire = lifetime(DOWNLOAD_SECONDS)
        return str(delivery_storage().url(key, parameters=parameters, expire=expire))  # type: ignore[call-arg]


def reset() -> None:
    """Forget every client, after settings changed (in tests) or a process forked."""
    for cached in (client, session, http, delivery_storage):
        cached.cache_clear()
