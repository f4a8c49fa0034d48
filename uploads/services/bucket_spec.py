"""What the bucket of this site should be like, by its settings: `provision` makes it so, `doctor` compares."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings

from uploads.errors import ValidationFailed
from uploads.s3.bucket import PUT_HEADERS, BucketSpec, partition

HOURS_PER_DAY = 24
# An upload that is resumed again and again gets older than its expiry, which counts from when it was last heard of;
# the store counts from its beginning, and only ends what the sweep could not.
RESUMED_DAYS = 30


def desired_bucket(origins: Sequence[str], *, keep_days: int | None = None) -> BucketSpec:
    """`keep_days`: how long what was overwritten or removed can be brought back; None takes at least 35."""
    return BucketSpec(
        bucket=settings.S3_BUCKET,
        partition=partition(),
        origins=tuple(origins),
        headers=PUT_HEADERS[settings.S3_CHECKSUMS],
        abort_days=expiry_days() + RESUMED_DAYS,
        keep_days=keep_days,
        over_tls=speaks_tls(),
    )


def speaks_tls() -> bool:
    return urlsplit(settings.S3_ENDPOINT or "https://").scheme == "https"


def expiry_days() -> int:
    """Whole days after which an unfinished upload that nobody goes on with is given up."""
    return -(-settings.UPLOAD_EXPIRY_HOURS // HOURS_PER_DAY)


def site_origins(named: Sequence[str] = ()) -> list[str]:
    """The origins of our pages: those `named`, else what CSRF_TRUSTED_ORIGINS and ALLOWED_HOSTS say.

    Raises ValidationFailed for one that is none, and where the settings leave open which they are.
    """
    if named:
        return sorted({_origin(text) for text in named})
    trusted = settings.CSRF_TRUSTED_ORIGINS
    open_ended = [text for text in [*settings.ALLOWED_HOSTS, *trusted] if "*" in text or text.startswith(".")]
    if open_ended:
        raise ValidationFailed(
            f"{', '.join(open_ended)} in ALLOWED_HOSTS or CSRF_TRUSTED_ORIGINS leaves open where our pages are, and "
            "the bucket must name each origin: repeat --origin https://files.example.org for every one, or name the "
            "hosts."
        )
    origins = {_origin(text) for text in trusted}
    told = {urlsplit(origin).hostname for origin in origins}
    scheme = "https" if settings.HTTPS else "http"
    hosts = [host for host in settings.ALLOWED_HOSTS if host.strip("[]").lower() not in told]
    typed = {_origin(f"{scheme}://{host}") for host in hosts if not (origins and _for_machines(host))}
    return sorted(origins | typed)


def _origin(text: str) -> str:
    """As browsers write it: lower case, no path, no port that goes without saying."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    else:
        whole = parts.scheme in {"http", "https"} and not parts.username and parts.path in {"", "/"}
        host = host if whole and not parts.query and not parts.fragment else None
    if not host or "*" in host or any(sign in host for sign in "\\ \"'<>"):
        raise ValidationFailed(
            f"{text[:100]!r} is no origin: it takes https://files.example.org, with :PORT if need be."
        )
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + (f":{port}" if port and port != usual else "")


def _for_machines(host: str) -> bool:
    """Addresses are for health checks; people type names."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    return True
