"""Presigned download URLs with the response headers that we set."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, urlencode

from botocore.signers import CloudFrontSigner
from django.conf import settings
from django.core.files.storage import storages
from storages.backends.s3 import S3Storage

from uploads.s3.client import client, config, forget_clients, http, session
from uploads.s3.errors import translate_errors
from uploads.s3.objects import readable_stores
from uploads.s3.signing import bucket_url, expires_in, sign_get_at
from uploads.s3.stores import Store, main_store, store_named

DOWNLOAD_SECONDS = 300
# Every header that a store keeps from a PUT and returns with a GET (S3 API, "GetObject"), except the two that depend on
# the file. A presigned PUT leaves all but Content-Type to the sender. `identity` is "no encoding" (RFC 9110, 8.4.1):
# a browser saves the stored bytes, whatever encoding the object declares.
FIXED = {
    "response-cache-control": "private, no-store",
    "response-content-encoding": "identity",
    "response-content-language": "und",
    "response-expires": "Thu, 01 Jan 1970 00:00:00 GMT",
}
# With a long name the URL leaves out the headers without effect, so that the redirect fits into the buffers of proxies:
# no-store overrides Expires (RFC 9111, 5.2.2.5), and browsers ignore the language of a download.
WITHOUT_EFFECT = {"response-content-language", "response-expires"}
MAX_CHARACTERS_WITH_ALL = 1_000  # of the disposition
# Within one window a preview has one URL, so that browsers can cache it; it is valid for two windows.
WINDOW_SECONDS = 900


class DownloadStorage(S3Storage):  # type: ignore[misc]  # storages has no types
    """django-storages for our bucket: `url()` signs downloads for S3 or, if configured, for CloudFront."""

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

    @property
    def connection(self) -> Any:
        """The client that the whole process shares: django-storages would create one for each thread that signs."""
        return SimpleNamespace(meta=SimpleNamespace(client=client("quick", self.store)))

    @property
    def bucket(self) -> Any:
        return SimpleNamespace(name=self.bucket_name)

    @property
    def is_behind_cloudfront(self) -> bool:
        return bool(self.custom_domain and self.cloudfront_signer)

    def url(self, name: str, parameters: Mapping[str, str] | None = None, expire: int = DOWNLOAD_SECONDS) -> str:
        """Return a URL signed as of now. Parameters have S3's names of the response headers (S3 API, "GetObject").

        A key that django-storages would clean (`a//b`), as an imported file can have, is signed unchanged.
        """
        return self.url_since(name, parameters=parameters or {}, since=datetime.now(UTC), seconds=expire)

    def url_since(self, name: str, *, parameters: Mapping[str, str], since: datetime, seconds: int) -> str:
        """Return a URL signed as of `since`: the same arguments give the same URL."""
        if self.is_behind_cloudfront:
            return self._by_cloudfront(name, parameters, since + timedelta(seconds=seconds))
        return sign_get_at(name, parameters, since=since, seconds=seconds, store=self.store.name)

    def valid_seconds(self, seconds: int) -> int:
        """Return how many of these seconds a URL can be valid: not longer than the credentials that sign it."""
        return seconds if self.is_behind_cloudfront else expires_in(seconds, self.store)

    def _by_cloudfront(self, key: str, parameters: Mapping[str, str], until: datetime) -> str:
        return sign_for_cloudfront(self.cloudfront_signer, self.custom_domain, key, parameters, until=until)


@functools.cache
def download_storage(store: Store) -> DownloadStorage:
    """Return the storage of the settings, created here so that `reset` can clear it. The options of the settings, such
    as a CloudFront domain, apply to the main store only: S3 delivers from other stores."""
    if store == main_store():
        return cast(DownloadStorage, storages.create_storage(settings.STORAGES["default"]))
    return DownloadStorage(store, custom_domain=None)


def download_url(key: str, *, disposition: str, content_type: str, store: str | None = None) -> str:
    """Return a URL, valid for at most five minutes, of the object's stored bytes with exactly these headers."""
    omitted = WITHOUT_EFFECT if len(disposition) > MAX_CHARACTERS_WITH_ALL else set()
    fixed = {name: value for name, value in FIXED.items() if name not in omitted}
    parameters = {**fixed, "response-content-disposition": disposition, "response-content-type": content_type}
    with translate_errors("Sign"):
        storage = download_storage(store_named(store))
        return storage.url(key, parameters=parameters, expire=storage.valid_seconds(DOWNLOAD_SECONDS))


def preview_url(key: str, *, content_type: str, now: datetime | None = None, store: str | None = None) -> str:
    """Return the URL of a preview: the same for 15 minutes, valid for another 15. Its headers let the person's browser,
    but no proxy, cache it until the URL expires."""
    now = now or datetime.now(UTC)
    since = datetime.fromtimestamp(now.timestamp() // WINDOW_SECONDS * WINDOW_SECONDS, UTC)
    with translate_errors("Sign"):
        storage = download_storage(store_named(store))
        # two windows, or less where the credentials expire sooner: the URL changes then, with the role's new ones
        seconds = min(
            2 * WINDOW_SECONDS, int((now - since).total_seconds()) + storage.valid_seconds(2 * WINDOW_SECONDS)
        )
        parameters = {
            "response-cache-control": "private",
            "response-content-disposition": "inline",
            "response-content-type": content_type,
            "response-expires": format_datetime(since + timedelta(seconds=seconds), usegmt=True),
        }
        return storage.url_since(key, parameters=parameters, since=since, seconds=seconds)


def reset() -> None:
    """Drop every client, after settings changed (in tests) or a process forked."""
    forget_clients()
    for cached in (session, http, bucket_url, download_storage):
        cached.cache_clear()
    readable_stores.clear()


def sign_for_cloudfront(
    signer: CloudFrontSigner, domain: str, key: str, parameters: Mapping[str, str], *, until: datetime
) -> str:
    """Return a URL of this object with these headers only, valid until `until`: a canned policy signs all of it."""
    query = urlencode(sorted(parameters.items()), quote_via=quote)
    unsigned_url = f"https://{domain}/{quote(key, safe='/~')}?{query}"
    return signer.generate_presigned_url(unsigned_url, date_less_than=until)
