"""What Django's `check` says of our settings, and `migrate` of the database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import ProgrammingError, connections, transaction

# a word in Cyrillic letters, of which an index of trigrams keeps none where the database takes them for no letters
KNOWS_LETTERS = "SELECT cardinality(show_trgm('отчёт')) > 0"


@register(Tags.security, deploy=True)
def store_is_asked_over_https(**_: Any) -> list[CheckMessage]:
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
def site_is_served_over_https(**_: Any) -> list[CheckMessage]:
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
def no_fault_point_is_set(**_: Any) -> list[CheckMessage]:
    if not settings.FAULT_POINT:
        return []
    return [Error("FAULT_POINT ends processes in tests.", hint="Remove FAULT_POINT.", id="uploads.E001")]


@register(Tags.database)
def database_knows_letters(databases: Collection[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Only where a command asks for checks of the database, as `migrate` does."""
    if not databases or "default" not in databases or _knows_letters():
        return []
    return [
        Warning(
            "The database takes only a to z for letters: searches in other scripts read the whole library.",
            hint="Make the database with LC_CTYPE C.UTF-8 or a language's own, and restore it from a dump.",
            id="uploads.W003",
        )
    ]


def _knows_letters() -> bool:
    """True also before pg_trgm is there: the first migration makes it."""
    try:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute(KNOWS_LETTERS)
            return bool(cursor.fetchone()[0])
    except ProgrammingError:
        return True
