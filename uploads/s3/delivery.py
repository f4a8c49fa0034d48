"""How bytes go out: a short signed URL whose headers we fix."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.core.files.storage import Storage, storages
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from uploads.s3.client import client, config, http, seconds_of_credentials, session, told_plainly
from uploads.s3.signing import lifetime, sign_get_at
from uploads.s3.stores import Store, main_store, store_named

DOWNLOAD_SECONDS = 300
# Within one window a preview has one URL, so that browsers keep what they have; it is good for two.
WINDOW_SECONDS = 900


class DeliveryStorage(S3Storage):  # type: ignore[misc]  # storages has no types
    """django-storages over our bucket: its `url()` signs downloads, by S3 or, by settings, by CloudFront."""

    def __init__(self, store: Store | None = None, **options: Any) -> None:
        self.store = store or main_store()
        super().__init__(**options)

    def get_default_settings(self) -> dict[str, Any]:
        at = self.store
        own_keys = {"access_key": at.access_key_id, "secret_key": at.secret_access_key, "security_token": None}
        return cast(dict[str, Any], super().get_default_settings()) | {
            "bucket_name": at.bucket,
            "endpoint_url": at.endpoint,
            "region_name": at.region,
            "client_config": config(at),
            "default_acl": None,
            "file_overwrite": False,
            "querystring_expire": DOWNLOAD_SECONDS,
            **(own_keys if at.access_key_id else {}),
        }

    def url(self, name: str, parameters: Any = None, expire: int | None = None, http_method: str | None = None) -> str:
        """As django-storages has it; but a key that it would tidy up (`a//b`), which an imported file may have, is
        signed by S3 itself as it is."""
        if clean_name(name) == name and not name.startswith("/"):
            return str(super().url(name, parameters=parameters, expire=expire, http_method=http_method))
        asked = {**(parameters or {}), "Bucket": self.store.bucket, "Key": name}
        return client("quick", self.store).generate_presigned_url("get_object", asked, expire or DOWNLOAD_SECONDS)

    def url_since(self, name: str, *, parameters: dict[str, str], since: datetime, seconds: int) -> str:
        """As `url()`, signed as if it were `since`: the same arguments give the same URL."""
        if self.custom_domain and self.cloudfront_signer:
            plain = f"{self.url_protocol}//{self.custom_domain}/{name}?{urlencode(parameters)}"
            until = (since + timedelta(seconds=seconds)).replace(tzinfo=None)
            return str(self.cloudfront_signer.generate_presigned_url(plain, date_less_than=until))
        return sign_get_at(name, parameters, since=since, seconds=seconds, store=self.store.name)


@functools.cache
def delivery_storage(store: Store) -> Storage:
    """The default storage of the settings, made by us so that `reset` can forget it. What options the settings give
    it, a domain of CloudFront perhaps, are the main store's: out of another one, S3 itself delivers."""
    if store == main_store():
        return storages.create_storage(settings.STORAGES["default"])
    return DeliveryStorage(store, custom_domain=None)


def download_url(key: str, *, disposition: str, content_type: str, store: str | None = None) -> str:
    """A URL for at most five minutes that gives the object with exactly these headers."""
    parameters = {
        "ResponseContentDisposition": disposition,
        "ResponseContentType": content_type,
        "ResponseCacheControl": "private, no-store",
    }
    at = store_named(store)
    with told_plainly("Sign"):
        expire = lifetime(DOWNLOAD_SECONDS, at)
        return str(delivery_storage(at).url(key, parameters=parameters, expire=expire))  # type: ignore[call-arg]


def preview_url(key: str, *, content_type: str, now: datetime | None = None, store: str | None = None) -> str:
    """A URL of a preview: the same for a quarter of an hour, good for another, with headers that let this
    person's browser keep what it gets for as long as the URL may be asked for."""
    at = store_named(store)
    now = now or datetime.now(UTC)
    since = datetime.fromtimestamp(now.timestamp() // WINDOW_SECONDS * WINDOW_SECONDS, UTC)
    with told_plainly("Sign"):
        seconds = _good_for(now, since, at)
        storage = cast(DeliveryStorage, delivery_storage(at))
        parameters = {
            "response-cache-control": f"private, max-age={max(0, min(WINDOW_SECONDS, seconds - WINDOW_SECONDS))}",
            "response-content-disposition": "inline",
            "response-content-type": content_type,
        }
        return storage.url_since(key, parameters=parameters, since=since, seconds=seconds)


def _good_for(now: datetime, since: datetime, store: Store) -> int:
    """Seconds from `since`: two windows, or less where the credentials end before. Those of a role change then,
    and the URL with them."""
    left = seconds_of_credentials(store)
    if left is None:
        return 2 * WINDOW_SECONDS
    return max(1, min(2 * WINDOW_SECONDS, int((now - since).total_seconds() + left)))


def reset() -> None:
    """Forget every client, after settings changed (in tests) or a process forked."""
    for cached in (client, session, http, delivery_storage):
        cached.cache_clear()
