"""Clients, their time limits, and how their faults are told."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import boto3
import botocore.session
import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.db import connection

from amalga.metrics import registry
from uploads.errors import ObjectArchived, StorageDenied, StorageUnavailable
from uploads.s3.stores import Store, main_store, store_named

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

Kind = Literal["quick", "patient", "slow"]

# A person waits for these calls: two attempts of connect + read stay below ten seconds.
CONNECT_SECONDS = 1.0
READ_SECONDS = 3.0
ATTEMPTS = 2
# Nobody can repeat these for us: the bytes of a form come once.
BATCH_READ_SECONDS = 20.0
BATCH_ATTEMPTS = 4
# What a store copies by itself, gigabytes at a time, and no person waits for.
BULK_READ_SECONDS = 300.0
CONNECTIONS = 32
# S3 refuses what was signed a quarter of an hour before or after its own time; others take less.
MAX_CLOCK_SKEW_SECONDS = 300
OWNER = "x-amz-expected-bucket-owner"

# Only the store's own words: a bare 404 may come from something in between.
ABSENT = frozenset({"NoSuchKey", "NoSuchUpload"})
CHANGED = frozenset({"PreconditionFailed", "412"})  # an object is there, or another one than was meant
ARCHIVED = "InvalidObjectState"
REFUSED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch",
           "ExpiredToken", "RequestTimeTooSkewed", "AllAccessDisabled"}  # fmt: skip

_clients: dict[tuple[Kind, Store], S3Client] = {}
_clients_lock = threading.Lock()


def config(store: Store | None = None, *, read_seconds: float = READ_SECONDS, attempts: int = ATTEMPTS) -> Config:
    """How boto3 talks to the store. Trailing checksums are never sent on boto3's own account:
    many stores refuse them, and the digests that matter are signed by us."""
    s3_options: Any = {
        "addressing_style": (store or main_store()).addressing,
        "payload_signing_enabled": True,
        "us_east_1_regional_endpoint": "regional",  # the address that S3_ORIGIN tells browsers
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
    core = _core()
    made = boto3.session.Session(access_key_id, secret_access_key, region_name=region, botocore_session=core)
    _disable_expiry_grace(core)
    return made


def _core() -> botocore.session.Session:
    """Where credentials come from another service (STS), that is waited for as briefly as the store is."""
    core = botocore.session.Session()
    limits: Any = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    core.set_default_client_config(Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=limits))
    return core


def _disable_expiry_grace(core: botocore.session.Session) -> None:
    """botocore takes credentials of a machine's role that end within some 20 minutes for longer-lived ones than they
    are (`InstanceMetadataFetcher._evaluate_expiration`), for the case that the service that gives them out is
    away. The store refuses them all the same, and URLs that they signed."""
    machine: Any = core.get_component("credential_provider").get_provider("iam-role")
    machine._role_fetcher._evaluate_expiration = lambda _credentials: None


def session_of(store: Store) -> boto3.session.Session:
    return session(store.region, store.access_key_id, store.secret_access_key)


def client(kind: Kind = "quick", store: Store | None = None) -> S3Client:
    """Return the client of this kind and store that all threads share (boto3 clients are thread-safe, sessions not).

    A client takes some 15 MiB, so threads that need it first at the same time must not each make one.
    """
    key = (kind, store or main_store())
    if key not in _clients:
        with _clients_lock:
            if key not in _clients:
                _clients[key] = _make_client(*key)
    return _clients[key]


def forget_clients() -> None:
    _clients.clear()


def _make_client(kind: Kind, at: Store) -> S3Client:
    credentials(at)  # a client that is made without any stays without
    limits = config(at)
    if kind != "quick":
        seconds = BATCH_READ_SECONDS if kind == "patient" else BULK_READ_SECONDS
        limits = config(at, read_seconds=seconds, attempts=BATCH_ATTEMPTS)
    made = session_of(at).client("s3", endpoint_url=at.endpoint, config=limits)
    made.meta.events.register("before-send.s3", _refuse_in_transaction)
    made.meta.events.register("needs-retry.s3", _count_throttles)
    if at.bucket_owner:
        made.meta.events.register("before-parameter-build.s3", functools.partial(_expect_owner, at.bucket_owner))
        made.meta.events.register("before-sign.s3", functools.partial(_expect_owner_in_url, at.bucket_owner))
    return made


def _expect_owner(owner: str, *, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    """Every call says whose bucket it means: a bucket that was deleted, and created again by another account under the
    same name, gets no bytes of ours (S3 user guide, "Verifying bucket ownership with bucket owner condition")."""
    if "ExpectedBucketOwner" in model.input_shape.members and not context.get("is_presign_request"):
        params["ExpectedBucketOwner"] = owner


def _expect_owner_in_url(owner: str, *, request: Any, signature_version: str, **_: Any) -> None:
    """A signed URL says so in its query: a header would have to be sent by the browser, and allowed by CORS."""
    if str(signature_version).endswith("-query"):
        request.url += f"{'&' if '?' in request.url else '?'}{urlencode({OWNER: owner})}"


class StoredBytes(urllib3.PoolManager):
    """Reads bodies as they are stored. What an object's Content-Encoding says is the claim of its writer: bytes
    that were decoded are not the bytes that were hashed, may have no end, and fit no range."""

    def urlopen(self, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        return super().urlopen(*args, **{**options, "decode_content": False})


@functools.cache
def http() -> urllib3.PoolManager:
    """Plain HTTP for signed URLs: a fifth of the CPU that boto3 needs to read one answer."""
    return StoredBytes(
        maxsize=CONNECTIONS,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=urllib3.Retry(
            ATTEMPTS - 1, status_forcelist={500, 502, 503, 504}, backoff_factor=0.1,
            raise_on_status=False, redirect=False,
        ),
    )  # fmt: skip


def keeps_digests(store: str | None = None) -> bool:
    """Whether the store verifies and keeps SHA-256 digests; without, they are claims."""
    return store_named(store).keeps_digests


def signs_payloads(store: str | None = None) -> bool:
    """Whether the store holds what arrives to the hash that SigV4 signs; it keeps none of them."""
    return store_named(store).signs_payloads


def needs_digests(store: str | None = None) -> bool:
    """Whether a URL can only be signed for bytes whose digest is known."""
    return keeps_digests(store) or signs_payloads(store)


def credentials(store: Store | None = None) -> Any:
    """Who we are to the store. A role may come late: without any, StorageUnavailable, and the next call asks anew."""
    with translate_errors("GetCredentials"):
        found = session_of(store or main_store()).get_credentials()
    if found is None:
        log_error("GetCredentials", "none")
        raise StorageUnavailable("GetCredentials: none")
    return found


def seconds_of_credentials(store: Store | None = None) -> float | None:
    """How long the signing credentials still live; None for those that do not expire.

    Those of a role are fetched first, if they are not there yet or end soon: before that, some do not know their end.
    botocore keeps the moment in a private attribute and gives no other way to it.
    """
    found = credentials(store)
    with translate_errors("GetCredentials"):
        found.get_frozen_credentials()
    expiry: datetime | None = getattr(found, "_expiry_time", None)
    return (expiry - datetime.now(UTC)).total_seconds() if expiry else None


def _count_throttles(response: Any = None, **_: Any) -> None:
    """Each attempt's answer comes by here: boto3 makes good what is told nowhere else."""
    if response is not None and response[0].status_code in {429, 503}:
        registry.THROTTLED.inc()


def _refuse_in_transaction(**_: Any) -> None:
    require_no_transaction()


def require_no_transaction() -> None:
    """A store call inside a transaction would hold locks over the network. Django's test cases
    wrap each test in transactions of their own; these do not count."""
    if any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        raise RuntimeError("The store was called inside a database transaction.")


@contextlib.contextmanager
def translate_errors(operation: str, *, absent: Collection[str] = ABSENT) -> Iterator[None]:
    """Turn whatever boto3 and urllib3 raise into StorageUnavailable or StorageDenied.

    A ClientError that says "not there" passes: what it means differs from call to call.
    """
    try:
        with registry.call_timed(operation):
            yield
    except ClientError as error:
        code = code_of(error)
        if code in absent:
            raise
        log_error(operation, code)
        if code == ARCHIVED:
            raise ObjectArchived(f"{operation}: {code}") from error
        if code in REFUSED:
            _log_clock_skew(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))
        raise (StorageDenied if code in REFUSED else StorageUnavailable)(f"{operation}: {code}") from error
    # RecursionError: boto3 asks a store that redirects everything for the bucket's region, again and again
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError, RecursionError) as error:
        log_error(operation, type(error).__name__)
        # without its cause: urllib3 puts the whole signed URL into its messages
        raise StorageUnavailable(f"{operation}: {type(error).__name__}") from None
    except RuntimeError as error:
        if "still expired" not in str(error):
            raise
        # all that botocore says of a role whose new credentials have expired as well
        log_error(operation, "ExpiredCredentials")
        raise StorageUnavailable(f"{operation}: ExpiredCredentials") from None


def log_error(operation: str, code: str) -> None:
    """In the log and in the metrics: each call that failed."""
    logger.warning("store_fault operation=%s code=%s", operation, code)
    registry.count_error(operation, code)


def response_error(operation: str, answer: urllib3.BaseHTTPResponse) -> StorageUnavailable:
    """What to raise for an answer that is neither what was asked for nor "not there"."""
    log_error(operation, str(answer.status))
    refused = answer.status in {401, 403}
    if refused:
        _log_clock_skew(answer.headers.get("Date"))
    return (StorageDenied if refused else StorageUnavailable)(f"{operation}: {answer.status}")


def _log_clock_skew(date: str | None) -> None:
    """Say so, if what a store refused was signed by a clock that is not its own: every answer tells its time."""
    try:
        theirs = parsedate_to_datetime(date or "").astimezone(UTC)
    except ValueError:
        return
    apart = (datetime.now(UTC) - theirs).total_seconds()
    if abs(apart) > MAX_CLOCK_SKEW_SECONDS:
        where = "ahead of" if apart > 0 else "behind"
        logger.error("clock_wrong: this machine's clock is %s the store's by %.0f minutes", where, abs(apart) / 60)


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
