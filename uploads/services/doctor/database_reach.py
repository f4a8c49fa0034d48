"""Whether the database can be reached, and if not, why, as one would tell a colleague."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, connections

from amalga.database import Connection, TokenConnection, fresh
from uploads.services.doctor.database_proof import why_no_proof
from uploads.services.doctor.told import Line, fail

REASONS = {
    "28P01": ("the password is wrong", "correct DATABASE_URL"),
    "28000": ("it does not let this role in from here, or not without TLS", "look at the role and at pg_hba.conf"),
    "3D000": ("there is no database of that name", "create it, or correct DATABASE_URL"),
    "53300": ("it has no connection left", "raise max_connections, or lower WEB_CONCURRENCY"),
    "57P03": ("it is starting or stopping", "wait, and ask again"),
}
NO_TOKEN = (
    "it refuses the token",
    "grant rds_iam to the database role, and rds-db:connect to the role that we run as",
)
POOLER = ("a pooler refuses the options of our connections", "set DATABASE_POOLER=on (docs/database.md)")


def trouble(subject: str = "database", alias: str = "default") -> Line | None:
    """Asked past the pool, which keeps its reasons to itself."""
    place: dict[str, Any] = connections[alias].settings_dict
    try:
        with fresh(alias):
            return None
    except DatabaseError as error:
        state = str(getattr(error.__cause__, "sqlstate", None) or "")
        reason, advice = _told(state, str(error), place)
        return fail(subject, f"cannot be reached at {place.get('HOST') or 'this machine'}: {reason}", advice)


def _told(state: str, text: str, place: dict[str, Any]) -> tuple[str, str]:
    lower = text.lower()
    if _shows_a_token(place) and (state == "28P01" or "authentication failed" in lower):
        return NO_TOKEN
    if "no iam token" in lower:
        return "there are no credentials to sign a token with", "give the process its role; `doctor` names it below"
    if state in REASONS:
        return REASONS[state]
    if "certificate" in lower or "ssl" in lower:
        return why_no_proof(place)
    return _unreached(lower)


def _shows_a_token(place: dict[str, Any]) -> bool:
    return issubclass((place["OPTIONS"].get("pool") or {}).get("connection_class", Connection), TokenConnection)


def _unreached(text: str) -> tuple[str, str]:
    if "password authentication" in text:
        return REASONS["28P01"]
    if "does not exist" in text and "database" in text:
        return REASONS["3D000"]
    if "startup parameter" in text:
        return POOLER
    if "resolve" in text or "name or service" in text:
        return "that name is not known here", "correct DATABASE_URL, or look at the resolver"
    if "refused" in text:
        return "nobody listens there", "start it, or correct DATABASE_URL"
    if "too many" in text or "remaining connection slots" in text or "no more connections" in text:
        return REASONS["53300"]
    return "it does not answer", "look at the network on the way there, at security groups first"
