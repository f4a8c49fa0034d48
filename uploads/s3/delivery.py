"""How bytes go out: a short signed URL whose headers we fix."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.core.files.storage import Storage, storages
from storages.backends.s3 import S3Storage

from uploads.s3.client import client, config, http, seconds_of_credentials, session, told_plainly
from uploads.s3.signing import lifetime, sign_get_at

DOWNLOAD_SECONDS = 300
# Within one window a preview has one URL, so that browsers keep what they have; it is good for two.
WINDOW_SECONDS = 900


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

    def url_since(self, name: str, *, parameters: dict[str, str], since: datetime, seconds: int) -> str:
        """As `url()`, signed as if it were `since`: the same arguments give the same URL."""
        if self.custom_domain and self.cloudfront_signer:
            plain = f"{self.url_protocol}//{self.custom_domain}/{name}?{urlencode(parameters)}"
            until = (since + timedelta(seconds=seconds)).replace(tzinfo=None)
            return str(self.cloudfront_signer.generate_presigned_url(plain, date_less_than=until))
        return sign_get_at(name, parameters, since=since, seconds=seconds)


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


def preview_url(key: str, *, content_type: str, now: datetime | None = None) -> str:
    """A URL of a preview: the same for a quarter of an hour, good for another, with headers that let this
    person's browser keep what it gets for as long as the URL may be asked for."""
    now = now or datetime.now(UTC)
    since = datetime.fromtimestamp(now.timestamp() // WINDOW_SECONDS * WINDOW_SECONDS, UTC)
    with told_plainly("Sign"):
        seconds = _good_for(now, since)
        storage = cast(DeliveryStorage, delivery_storage())
        parameters = {
            "response-cache-control": f"private, max-age={max(0, min(WINDOW_SECONDS, seconds - WINDOW_SECONDS))}",
            "response-content-disposition": "inline",
            "response-content-type": content_type,
        }
        return storage.url_since(key, parameters=parameters, since=since, seconds=seconds)


def _good_for(now: datetime, since: datetime) -> int:
    """Seconds from `since`: two windows, or less where the credentials end before. Those of a role change then,
    and the URL with them."""
    left = seconds_of_credentials()
    if left is None:
        return 2 * WINDOW_SECONDS
    return max(1, min(2 * WINDOW_SECONDS, int((now - since).total_seconds() + left)))


def reset() -> None:
    """Forget every client, after settings changed (in tests) or a process forked."""
    for cached in (client, session, http, delivery_storage):
        cached.cache_clear()
