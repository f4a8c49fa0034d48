"""The bucket configuration that the settings require: `provision` applies it, `doctor` compares with it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings

from uploads.errors import ValidationFailed
from uploads.s3.bucket import PUT_HEADERS, BucketSpec, partition

HOURS_PER_DAY = 24
# An upload that is resumed repeatedly gets older than its expiry, which counts from its last request. The storage
# counts from the beginning, and only aborts what the sweep could not.
RESUMED_DAYS = 30


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
            f"{', '.join(wildcards)} in ALLOWED_HOSTS or CSRF_TRUSTED_ORIGINS leaves open where our pages are, and "
            "the bucket must name each origin: repeat --origin https://files.example.org for every one, or name the "
            "hosts."
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
            f"{text[:100]!r} is no origin: it takes https://files.example.org, with :PORT if need be."
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
