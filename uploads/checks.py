"""System checks: of the settings for `check`, and of the database for `migrate`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import ProgrammingError, connections, transaction

from amalga.settings.database import VERIFYING_MODES, is_common_password
from amalga.settings.env import is_loopback

# Whether pg_trgm finds trigrams in a Cyrillic word: it finds none if the locale lacks these letters.
LOCALE_QUERY = "SELECT cardinality(show_trgm('отчёт')) > 0"
LARGE_PART_BYTES = 128 * 1024**2


@register(Tags.security, deploy=True)
def check_storage_tls(**_: Any) -> list[CheckMessage]:
    if urlsplit(settings.S3_ORIGIN).scheme == "https":
        return []
    return [
        Warning(
            "Presigned URLs and files are sent unencrypted: AWS_ENDPOINT_URL_S3 is an http URL.",
            hint="Set AWS_ENDPOINT_URL_S3 to an https URL.",
            id="uploads.W001",
        )
    ]


@register(Tags.security, deploy=True)
def check_site_tls(**_: Any) -> list[CheckMessage]:
    if settings.HTTPS:
        return []
    return [
        Warning(
            "HTTPS is off: cookies are sent unencrypted, and browsers cannot compute checksums.",
            hint="Remove HTTPS=off.",
            id="uploads.W002",
        )
    ]


@register(deploy=True)
def check_no_failpoint(**_: Any) -> list[CheckMessage]:
    if not settings.FAILPOINT:
        return []
    return [Error("FAILPOINT is set, which kills processes in tests.", hint="Remove FAILPOINT.", id="uploads.E001")]


@register(Tags.security)
def check_database_password(**_: Any) -> list[CheckMessage]:
    """Reject common passwords. Runs without --deploy too, so that `migrate`, and so a release, stops."""
    user, password = (str(_database().get(name) or "") for name in ("USER", "PASSWORD"))
    if settings.DEBUG or not is_common_password(user, password):
        return []
    return [
        Error(
            "The database password is too common.",
            hint="Set another password (ALTER ROLE … PASSWORD …), and change DATABASE_URL.",
            id="uploads.E002",
        )
    ]


@register(Tags.security, deploy=True)
def check_database_user(**_: Any) -> list[CheckMessage]:
    """Require a password, unless a certificate, a password file or IAM replaces it. A loopback host needs none."""
    database = _database()
    other_credentials = {"sslcert", "passfile", "service"} & set(database.get("OPTIONS", {}))
    if database.get("PASSWORD") or other_credentials or settings.DATABASE_IAM or is_loopback(database.get("HOST")):
        return []
    return [
        Warning(
            "The database needs no password.",
            hint="Set a password for its role, and add it to DATABASE_URL.",
            id="uploads.W004",
        )
    ]


@register(Tags.security, deploy=True)
def check_database_tls(**_: Any) -> list[CheckMessage]:
    database = _database()
    mode = str(database.get("OPTIONS", {}).get("sslmode") or "prefer")
    if mode in VERIFYING_MODES or is_loopback(database.get("HOST")):
        return []
    consequence = "" if mode == "require" else ", and may be unencrypted"
    return [
        Warning(
            f"With sslmode={mode}, the connection to the database does not verify the server{consequence}.",
            hint="Remove sslmode from DATABASE_URL, and set DATABASE_CA to a file with the provider's certificates.",
            id="uploads.W005",
        )
    ]


@register(Tags.security, deploy=True)
def check_mail_tls(**_: Any) -> list[CheckMessage]:
    has_tls = settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL or is_loopback(settings.EMAIL_HOST)
    if has_tls or not settings.EMAIL_IS_CONFIGURED:
        return []
    content = "the password and all mails" if settings.EMAIL_HOST_PASSWORD else "all mails"
    return [
        Warning(
            f"Connections to the mail server are not encrypted: {content} can be read on the way.",
            hint="Begin EMAIL_URL with smtp+tls:// or smtp+ssl://.",
            id="uploads.W014",
        )
    ]


@register(Tags.security, deploy=True)
def check_allowed_hosts(**_: Any) -> list[CheckMessage]:
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS is *, so links and redirects use any Host header.",
            hint="Set it to the host names of the site, separated by commas.",
            id="uploads.W006",
        )
    ]


@register(Tags.security, deploy=True)
def check_trusted_origins(**_: Any) -> list[CheckMessage]:
    insecure = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if not origin.startswith("https://")]
    if not insecure or not settings.HTTPS:  # without HTTPS, check_site_tls warns
        return []
    return [
        Warning(
            f"CSRF_TRUSTED_ORIGINS has unencrypted origins: {', '.join(insecure)}.",
            hint="Change them to https://.",
            id="uploads.W007",
        )
    ]


@register(Tags.security, deploy=True)
def check_staff_two_factor(**_: Any) -> list[CheckMessage]:
    if settings.STAFF_SECOND_FACTOR or not settings.HTTPS:
        return []
    return [
        Warning(
            "Administrators can sign in without two-factor authentication.",
            hint="Remove STAFF_SECOND_FACTOR=off.",
            id="uploads.W013",
        )
    ]


@register(deploy=True)
def check_proxy_count(**_: Any) -> list[CheckMessage]:
    if settings.PROXY_COUNT or not settings.FORWARDED_ALLOW_IPS:
        return []
    return [
        Warning(
            "FORWARDED_ALLOW_IPS is set, but PROXY_COUNT is 0: the audit log records the address of the proxy.",
            hint="Set PROXY_COUNT to the number of proxies that append to X-Forwarded-For, usually 1.",
            id="uploads.W008",
        )
    ]


@register(deploy=True)
def check_checksums(**_: Any) -> list[CheckMessage]:
    """Require SHA-256 checksums at AWS. For every other storage `doctor` tries them out."""
    host = urlsplit(settings.S3_ORIGIN).hostname or ""
    if settings.S3_CHECKSUMS == "sha256" or not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return []
    return [
        Warning(
            f"S3_CHECKSUMS={settings.S3_CHECKSUMS} turns off SHA-256 checksums, which S3 supports.",
            hint="Remove S3_CHECKSUMS.",
            id="uploads.W009",
        )
    ]


@register(deploy=True)
def check_part_size(**_: Any) -> list[CheckMessage]:
    if settings.UPLOAD_PART_BYTES <= LARGE_PART_BYTES:
        return []
    return [
        Warning(
            f"Parts of {settings.UPLOAD_PART_BYTES // 1024**2} MiB are large: browsers keep four in memory, each "
            "upload without JavaScript keeps one, and a failed part is sent again completely.",
            hint="Remove UPLOAD_PART_BYTES. It is increased automatically for large files.",
            id="uploads.W010",
        )
    ]


@register(deploy=True)
def check_quota(**_: Any) -> list[CheckMessage]:
    if settings.UPLOAD_MAX_BYTES <= settings.UPLOAD_QUOTA_BYTES:
        return []
    return [
        Warning(
            "UPLOAD_MAX_BYTES is larger than UPLOAD_QUOTA_BYTES, so uploads that seem allowed are rejected.",
            hint="Lower UPLOAD_MAX_BYTES or raise UPLOAD_QUOTA_BYTES.",
            id="uploads.W011",
        )
    ]


@register(deploy=True)
def check_unknown_variables(**_: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"Unknown variable {name}.",
            hint="Find the right name in docs/configuration.md, or remove it.",
            id="uploads.W012",
        )
        for name in settings.UNKNOWN_VARIABLES
    ]


@register(Tags.database)
def check_database_locale(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Require a Unicode locale. Runs only with commands that check the database, as `migrate` does."""
    if not databases or "default" not in databases or _has_unicode_locale():
        return []
    return [
        Warning(
            "The locale of the database only has the letters a to z: searches in other scripts are slow.",
            hint="Create the database with LC_CTYPE C.UTF-8 or another UTF-8 locale, and restore it from a dump.",
            id="uploads.W003",
        )
    ]


def _has_unicode_locale() -> bool:
    """Return whether the locale has letters beyond a to z. True until pg_trgm is installed."""
    try:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute(LOCALE_QUERY)
            return bool(cursor.fetchone()[0])
    except ProgrammingError:
        return True


def _database() -> dict[str, Any]:
    return settings.DATABASES["default"]
