"""The stores of the settings, and S3 clients for them with their timeouts and credentials."""

from __future__ import annotations

import bisect
import functools
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import boto3
import botocore.session
import urllib3
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.loaders import Loader, create_loader
from django.conf import settings
from django.db import connection

from amalga import metrics
from uploads.errors import StorageUnavailable
from uploads.s3.errors import log_error, translate_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

ClientProfile = Literal["quick", "batch", "bulk"]

# A person waits for these calls: two attempts of connect + read stay below ten seconds.
CONNECT_SECONDS = 1.0
READ_SECONDS = 3.0
ATTEMPTS = 2
# No client can repeat these: the bytes of a form arrive only once.
BATCH_READ_SECONDS = 20.0
BATCH_ATTEMPTS = 4
# A store copies gigabytes in one call, and no person waits for it.
BULK_READ_SECONDS = 300.0
CONNECTIONS = 32
OWN_URL_SECONDS = 60  # of a presigned URL that the server uses itself, at once
STORAGE_CONCURRENCY = 8  # calls at once for several files of one request or batch
OWNER = "x-amz-expected-bucket-owner"
OCTET_STREAM = "application/octet-stream"  # the type of all objects: the app says what a file is

_clients: dict[tuple[ClientProfile, Store], S3Client] = {}
_clients_lock = threading.Lock()


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


def config(store: Store | None = None, *, read_seconds: float = READ_SECONDS, attempts: int = ATTEMPTS) -> Config:
    """Return boto3's configuration for a store. boto3 never adds trailing checksums by itself: many stores reject
    them, and we sign the checksums that matter."""
    s3_options: Any = {
        "addressing_style": (store or main_store()).addressing,
        "payload_signing_enabled": True,
        "us_east_1_regional_endpoint": "regional",  # the endpoint that browsers know as S3_ORIGIN
    }
    return Config(
        signature_version="s3v4",
        s3=s3_options,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


@functools.cache
def session(region: str, access_key_id: str | None, secret_access_key: str | None) -> boto3.session.Session:
    return boto3.session.Session(access_key_id, secret_access_key, region_name=region, botocore_session=_core())


def _core() -> botocore.session.Session:
    """Return a botocore session whose credential service (STS) has the same timeouts as the storage."""
    core = botocore.session.Session()
    core.register_component("data_loader", _loader())
    limits: Any = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    core.set_default_client_config(Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=limits))
    return core


@functools.cache
def _loader() -> Loader:
    """Return the loader that all sessions share: it keeps botocore's descriptions of S3, which take 14 MiB."""
    return create_loader()


def preload() -> None:
    """Load botocore's descriptions of S3, which processes that fork afterwards share. Needs no credentials."""
    for description in ("service-2", "endpoint-rule-set-1"):
        _loader().load_service_model("s3", description)
    for data in ("endpoints", "partitions"):
        _loader().load_data(data)


def session_of(store: Store) -> boto3.session.Session:
    return session(store.region, store.access_key_id, store.secret_access_key)


def client(profile: ClientProfile = "quick", store: Store | None = None) -> S3Client:
    """Return the client of this profile and store that all threads share (boto3 clients are thread-safe, sessions not).

    Threads that need it first at the same time must not each make one.
    """
    key = (profile, store or main_store())
    if key not in _clients:
        with _clients_lock:
            if key not in _clients:
                _clients[key] = _make_client(*key)
    return _clients[key]


def forget_clients() -> None:
    _clients.clear()


def _make_client(profile: ClientProfile, at: Store) -> S3Client:
    credentials(at)  # a client created without credentials never gets any
    options = config(at)
    if profile != "quick":
        seconds = BATCH_READ_SECONDS if profile == "batch" else BULK_READ_SECONDS
        options = config(at, read_seconds=seconds, attempts=BATCH_ATTEMPTS)
    s3 = session_of(at).client("s3", endpoint_url=at.endpoint, config=options)
    s3.meta.events.register("before-send.s3", _refuse_in_transaction)
    s3.meta.events.register("needs-retry.s3", _count_throttles)
    if at.bucket_owner:
        s3.meta.events.register("before-parameter-build.s3", functools.partial(_expect_owner, at.bucket_owner))
        s3.meta.events.register("before-sign.s3", functools.partial(_expect_owner_in_url, at.bucket_owner))
    return s3


def _expect_owner(owner: str, *, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    """Add the expected bucket owner to every call: a bucket that another account created again under the same name
    gets no bytes of ours (S3 user guide, "Verifying bucket ownership with bucket owner condition")."""
    if "ExpectedBucketOwner" in model.input_shape.members and not context.get("is_presign_request"):
        params["ExpectedBucketOwner"] = owner


def _expect_owner_in_url(owner: str, *, request: Any, signature_version: str, **_: Any) -> None:
    """Add the expected owner to the query of a signed URL: browsers would have to send a header that CORS allows."""
    if str(signature_version).endswith("-query"):
        request.url += f"{'&' if '?' in request.url else '?'}{urlencode({OWNER: owner})}"


class StoredBytes(urllib3.PoolManager):
    """Reads bodies as they are stored. The object's Content-Encoding is only declared by its writer: decoded bytes
    are not the bytes that were hashed, may be endless, and match no range."""

    def urlopen(self, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        return super().urlopen(*args, **{**options, "decode_content": False})


@functools.cache
def http() -> urllib3.PoolManager:
    """Return the HTTP pool for signed URLs: it takes a fifth of the CPU that boto3 needs to read a response."""
    return StoredBytes(
        maxsize=CONNECTIONS,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=urllib3.Retry(
            ATTEMPTS - 1, status_forcelist={500, 502, 503, 504}, backoff_factor=0.1,
            raise_on_status=False, redirect=False,
        ),
    )  # fmt: skip


def keeps_digests(store: str | None = None) -> bool:
    """Return whether the storage verifies and keeps SHA-256 checksums; otherwise they are only declared."""
    return store_named(store).keeps_digests


def signs_payloads(store: str | None = None) -> bool:
    """Return whether the storage verifies the bytes by the hash that SigV4 signs; it does not keep the hash."""
    return store_named(store).signs_payloads


def needs_digests(store: str | None = None) -> bool:
    """Return whether a URL can only be signed for bytes whose checksum is known."""
    return keeps_digests(store) or signs_payloads(store)


def credentials(store: Store | None = None) -> Any:
    """Return our credentials. Raises StorageUnavailable without any; the next call retries, as a role can get them."""
    with translate_errors("GetCredentials"):
        result = session_of(store or main_store()).get_credentials()
    if result is None:
        log_error("GetCredentials", "none")
        raise StorageUnavailable("GetCredentials: none")
    return result


def seconds_of_credentials(store: Store | None = None, *, limit: int) -> int | None:
    """Return for how many seconds, at most `limit`, the signing credentials are valid; None if they do not expire.

    Credentials of a role are fetched first if they are missing or expire soon: before that, some do not know their
    expiry. For a machine's role, botocore moves an expiry within 20 minutes to up to 20 minutes from now, in case the
    metadata service is unavailable (`InstanceMetadataFetcher`): a URL is then signed for longer than its credentials
    are valid, and the storage denies it as it denies everything that they sign.
    """
    current = credentials(store)
    with translate_errors("GetCredentials"):
        current.get_frozen_credentials()
    if not isinstance(current, RefreshableCredentials):
        return None
    if not current.refresh_needed(limit):
        return limit
    # botocore says publicly only whether the expiry is less than some seconds away
    return bisect.bisect_left(range(limit + 1), True, key=current.refresh_needed) - 1


def _count_throttles(response: Any = None, **_: Any) -> None:
    """Count throttled attempts: boto3 retries them and reports them nowhere else."""
    if response is not None and response[0].status_code in {429, 503}:
        metrics.THROTTLED.inc()


def _refuse_in_transaction(**_: Any) -> None:
    require_no_transaction()


def require_no_transaction() -> None:
    """Raise RuntimeError inside a database transaction: a storage call there would hold locks over the network.

    The transactions that Django's test cases wrap around each test do not count.
    """
    # private: tests/code/test_architecture.py lists why
    if any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        raise RuntimeError("Storage was called inside a database transaction.")
