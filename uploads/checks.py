"""System checks: of the settings for `check`, and of the database for `migrate`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import ProgrammingError, connections, transaction

from amalga.settings.database import is_common_password
from amalga.settings.env import is_loopback

# Whether pg_trgm finds trigrams in a Cyrillic word: it finds none if the locale lacks these letters.
LOCALE_QUERY = "SELECT cardinality(show_trgm('отчёт')) > 0"
VERIFIED_SSLMODES = {"verify-ca", "verify-full"}
LARGE_PART_BYTES = 128 * 1024**2


@register(Tags.security, deploy=True)
def check_storage_tls(**_: Any) -> list[CheckMessage]:
    if urlsplit(settings.S3_ORIGIN).scheme == "https":
        return []
    return [
        Warning(
            "Signed URLs and bytes travel in the clear: the store is asked over http.",
            hint="Give AWS_ENDPOINT_URL_S3 an https address.",
            id="uploads.W001",
        )
    ]


@register(Tags.security, deploy=True)
def check_site_tls(**_: Any) -> list[CheckMessage]:
    if settings.HTTPS:
        return []
    return [
        Warning(
            "HTTPS is off: cookies travel in the clear and browsers cannot compute digests.",
            hint="Remove HTTPS=off.",
            id="uploads.W002",
        )
    ]


@register(deploy=True)
def check_no_failpoint(**_: Any) -> list[CheckMessage]:
    if not settings.FAILPOINT:
        return []
    return [Error("FAILPOINT ends processes in tests.", hint="Remove FAILPOINT.", id="uploads.E001")]


@register(Tags.security)
def check_database_password(**_: Any) -> list[CheckMessage]:
    """Reject common passwords. Runs without --deploy too, so that `migrate`, and so a release, stops."""
    user, password = (str(_database().get(name) or "") for name in ("USER", "PASSWORD"))
    if settings.DEBUG or not is_common_password(user, password):
        return []
    return [
        Error(
            "The database's password is one that everybody tries first.",
            hint="Give the role a password of its own (ALTER ROLE … PASSWORD …) and put it into DATABASE_URL.",
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
            "The database is asked without a password.",
            hint="Let its role have one, and put it into DATABASE_URL.",
            id="uploads.W004",
        )
    ]


@register(Tags.security, deploy=True)
def check_database_tls(**_: Any) -> list[CheckMessage]:
    database = _database()
    mode = str(database.get("OPTIONS", {}).get("sslmode") or "prefer")
    if mode in VERIFIED_SSLMODES or is_loopback(database.get("HOST")):
        return []
    consequence = "" if mode == "require" else " and may send everything in the clear"
    return [
        Warning(
            f"The way to the database is sslmode={mode}: it does not ask the server to prove who it is{consequence}.",
            hint="Drop sslmode from DATABASE_URL, and name the file with the provider's certificates by DATABASE_CA.",
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
            "ALLOWED_HOSTS lets everybody choose what the site is called: links and redirects follow the Host header.",
            hint="Name the hosts that people type, by commas.",
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
            f"Pages that came in the clear may send forms: {', '.join(insecure)} in CSRF_TRUSTED_ORIGINS.",
            hint="Write https://.",
            id="uploads.W007",
        )
    ]


@register(Tags.security, deploy=True)
def check_staff_two_factor(**_: Any) -> list[CheckMessage]:
    if settings.STAFF_SECOND_FACTOR or not settings.HTTPS:
        return []
    return [
        Warning(
            "A stolen password opens the admin: administrators need no second factor.",
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
            "There is a proxy (FORWARDED_ALLOW_IPS), and PROXY_COUNT is 0: the activity log keeps the proxy's address.",
            hint="Set PROXY_COUNT to the number of proxies that add to X-Forwarded-For, mostly 1.",
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
            f"S3 verifies and keeps SHA-256 digests, and S3_CHECKSUMS={settings.S3_CHECKSUMS} does not ask it to.",
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
            f"Parts of {settings.UPLOAD_PART_BYTES // 1024**2} MiB: browsers hold four at once in memory, each thread "
            "of the plain form holds one, and whatever breaks a part sends all of it again.",
            hint="Leave UPLOAD_PART_BYTES at 16777216; it is doubled by itself where a file needs that.",
            id="uploads.W010",
        )
    ]


@register(deploy=True)
def check_quota(**_: Any) -> list[CheckMessage]:
    if settings.UPLOAD_MAX_BYTES <= settings.UPLOAD_QUOTA_BYTES:
        return []
    return [
        Warning(
            "UPLOAD_MAX_BYTES is above UPLOAD_QUOTA_BYTES: people are told that they may send what is then refused.",
            hint="Lower UPLOAD_MAX_BYTES or raise UPLOAD_QUOTA_BYTES.",
            id="uploads.W011",
        )
    ]


@register(deploy=True)
def check_unknown_variables(**_: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is set, and nothing reads it.",
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
            "The database takes only a to z for letters: searches in other scripts read the whole library.",
            hint="Make the database with LC_CTYPE C.UTF-8 or a language's own, and restore it from a dump.",
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
