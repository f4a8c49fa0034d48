"""Create and configure the bucket: what the settings require, what it has, and how to get there."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from uploads import s3
from uploads.errors import StorageDenied, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.keys import MARKER_KEY
from uploads.models import Installation
from uploads.s3.bucket_config import (
    BUCKET_SETTINGS,
    SettingDiff,
    SettingStatus,
    apply_setting,
    bucket_region,
    compare_setting,
    is_own_bucket,
    make_bucket,
    partition,
)
from uploads.s3.bucket_policies import PUT_HEADERS, BucketSpec
from uploads.s3.errors import S3ResponseError

logger = logging.getLogger(__name__)

HOURS_PER_DAY = 24
# An upload that is resumed repeatedly gets older than its expiry, which counts from its last request. The storage
# counts from the beginning, and only aborts what the sweep could not.
RESUMED_DAYS = 30


def provision(spec: BucketSpec, *, apply: bool = False, adopt: UUID | None = None) -> Iterator[SettingDiff]:
    """Compare each setting of the bucket with `spec`, the marker last, and yield the results; with `apply`, fix it.

    `adopt` is the marker of another database to replace with ours. Raises WrongMarker and ValidationFailed before
    anything is written, and StorageUnavailable when the storage is unavailable. Safe to repeat.
    """
    own = Installation.objects.own_id()
    exists = _bucket_exists()
    marker = s3.read_marker() if exists else None
    _require_own_marker(marker, own, adopt)
    bucket = SettingDiff("bucket", SettingStatus.MATCHES) if exists else _create(apply=apply)
    yield bucket
    if bucket.status not in {SettingStatus.MATCHES, SettingStatus.APPLIED}:
        return
    for setting in BUCKET_SETTINGS:
        diff = compare_setting(setting, spec)
        yield apply_setting(setting, spec, diff) if apply and diff.status is SettingStatus.DIFFERS else diff
    yield _write_marker(marker, own, apply=apply)


def _bucket_exists() -> bool:
    region = bucket_region()
    if region and region != settings.S3_REGION:
        raise ValidationFailed(
            f"The bucket {settings.S3_BUCKET} is in the region {region}. Set AWS_DEFAULT_REGION={region}."
        )
    return region is not None


def _create(*, apply: bool) -> SettingDiff:
    subject, name = "bucket", settings.S3_BUCKET
    lines = [(name, "missing", f"a bucket in {settings.S3_REGION}")]
    if not apply:
        return SettingDiff(subject, SettingStatus.DIFFERS, lines)
    try:
        make_bucket()
    except S3ResponseError as error:
        reason = f"could not create {name}: {error.code}"
        return SettingDiff(subject, SettingStatus.FAILED, lines, reason, _creation_advice(error))
    logger.info("bucket_created bucket=%s", name)
    return SettingDiff(subject, SettingStatus.APPLIED, lines)


def _creation_advice(error: S3ResponseError) -> str:
    if error.is_denied:
        return "allow s3:CreateBucket, or create the bucket yourself"
    is_taken = error.code in {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"} and is_own_bucket() is not True
    return "choose another name, this one is taken" if is_taken else "look up this error in the storage's documentation"


def _require_own_marker(marker: UUID | None, own: UUID, adopt: UUID | None) -> None:
    if adopt is not None and adopt != marker:
        current = f"the marker {marker}" if marker else "no marker"
        raise ValidationFailed(f"The bucket has {current}, not {adopt}. Nothing was changed.")
    if marker in {None, own, adopt}:
        return
    raise WrongMarker(
        f"The bucket belongs to another database: its marker is {marker}, this database is {own}. Nothing was changed. "
        "Check AWS_STORAGE_BUCKET_NAME and DATABASE_URL. If that database was deleted, transfer the bucket to this "
        f"one with --adopt-marker {marker}."
    )


def _write_marker(marker: UUID | None, own: UUID, *, apply: bool) -> SettingDiff:
    subject = "marker"
    if marker == own:
        return SettingDiff(subject, SettingStatus.MATCHES)
    lines = [(MARKER_KEY, str(marker) if marker else "missing", str(own))]
    if not apply:
        return SettingDiff(subject, SettingStatus.DIFFERS, lines)
    try:
        if s3.read_marker() != marker:
            return SettingDiff(
                subject, SettingStatus.FAILED, lines, "another process marked the bucket", "run this command again"
            )
        s3.write_marker(own)
    except StorageUnavailable as fault:
        reason = f"could not write the marker: {fault.detail.partition(': ')[2]}"
        advice = "allow s3:PutObject" if isinstance(fault, StorageDenied) else "run this command again"
        return SettingDiff(subject, SettingStatus.FAILED, lines, reason, advice)
    logger.info("bucket_marked bucket=%s installation=%s previous=%s", settings.S3_BUCKET, own, marker)
    return SettingDiff(subject, SettingStatus.APPLIED, lines)


def desired_bucket(origins: Sequence[str], *, keep_days: int | None = None) -> BucketSpec:
    """Return the configuration of the bucket of this site.

    `keep_days`: for how many days overwritten and removed objects can be restored; None means at least 35.
    """
    return BucketSpec(
        bucket=settings.S3_BUCKET,
        partition=partition(),
        origins=tuple(origins),
        headers=PUT_HEADERS[settings.S3_CHECKSUMS],
        abort_days=expiry_days() + RESUMED_DAYS,
        keep_days=keep_days,
        over_tls=uses_tls(),
    )


def uses_tls() -> bool:
    return urlsplit(settings.S3_ENDPOINT or "https://").scheme == "https"


def expiry_days() -> int:
    """Return the whole days after which an unfinished upload without requests expires."""
    return -(-settings.UPLOAD_EXPIRY_HOURS // HOURS_PER_DAY)


def site_origins(named: Sequence[str] = ()) -> list[str]:
    """Return the origins of our pages: those `named`, or else those of CSRF_TRUSTED_ORIGINS and ALLOWED_HOSTS.

    Raises ValidationFailed for an invalid origin, and for wildcards in these settings.
    """
    if named:
        return sorted({_origin(text) for text in named})
    trusted = settings.CSRF_TRUSTED_ORIGINS
    wildcards = [text for text in [*settings.ALLOWED_HOSTS, *trusted] if "*" in text or text.startswith(".")]
    if wildcards:
        raise ValidationFailed(
            f"{', '.join(wildcards)} in ALLOWED_HOSTS or CSRF_TRUSTED_ORIGINS is a wildcard, but the bucket must name "
            "each origin. Give each one with --origin https://files.example.org, or set the host names."
        )
    origins = {_origin(text) for text in trusted}
    trusted_hosts = {urlsplit(origin).hostname for origin in origins}
    scheme = "https" if settings.HTTPS else "http"
    hosts = [host for host in settings.ALLOWED_HOSTS if host.strip("[]").lower() not in trusted_hosts]
    host_origins = {_origin(f"{scheme}://{host}") for host in hosts if not (origins and _is_machine_host(host))}
    return sorted(origins | host_origins)


def _origin(text: str) -> str:
    """Return the origin as browsers send it: lower case, no path, no default port. Raises ValidationFailed."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    else:
        is_plain = parts.scheme in {"http", "https"} and not parts.username and parts.path in {"", "/"}
        host = host if is_plain and not parts.query and not parts.fragment else None
    if not host or "*" in host or any(char in host for char in "\\ \"'<>"):
        raise ValidationFailed(
            f"An origin must be like https://files.example.org or https://files.example.org:8443, not “{text[:100]}”."
        )
    netloc = f"[{host}]" if ":" in host else host
    default_port = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{netloc}" + (f":{port}" if port and port != default_port else "")


def _is_machine_host(host: str) -> bool:
    """Return whether the host is an IP address or localhost: health checks use these, people type names."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    return True
