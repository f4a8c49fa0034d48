"""The replica for lists and searches, if one is named: whether it is one, and how far behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import psycopg
from django.db import connections
from psycopg.errors import FeatureNotSupported, UndefinedFunction

from amalga.database import fresh
from amalga.replica import ALIAS, PRIMARY, REPLAYED, SETTLED_SECONDS
from uploads.services.doctor.database_reach import trouble
from uploads.services.doctor.told import Level, Line, fail, ok, warn

SUBJECT = "replica"
ADVICE = "lead READ_DATABASE_URL to a replica of this database"
FAR_BEHIND_BYTES = 16 * 1024**2  # a busy primary writes less while one looks

Opened = psycopg.Connection[Any]


def replica_lines() -> Iterable[Line]:
    """Nothing where there is none. Without it everything works, at the primary's cost: so trouble is only a warning."""
    if ALIAS not in connections:
        return
    if unreached := trouble(SUBJECT, ALIAS):
        yield replace(unreached, level=Level.WARN)
        return
    with fresh() as primary, fresh(ALIAS) as opened:
        yield _line(primary, opened)


def _line(primary: Opened, opened: Opened) -> Line:
    if not _first(opened, "SELECT pg_is_in_recovery()"):
        return fail(SUBJECT, "it is no replica: it takes writes of its own", ADVICE)
    whose = {_first(one, "SELECT id FROM uploads_installation") for one in (primary, opened)}
    if len(whose - {None}) > 1:
        return fail(SUBJECT, "it is a replica of another database", ADVICE)
    written, replayed = _number(primary, PRIMARY), _number(opened, REPLAYED)
    if written is None or replayed is None:
        told = f"answers, and tells no numbers: for {SETTLED_SECONDS} s after a person's own write it is left alone"
        return ok(SUBJECT, told)
    behind = max(0, written - replayed)
    if behind > FAR_BEHIND_BYTES:
        advice = "look at what it is busy with, and whether its replay is paused"
        return warn(SUBJECT, f"{behind // 1024**2} MiB behind; until it has caught up the primary is asked", advice)
    return ok(SUBJECT, f"answers, {behind} bytes behind")


def _number(opened: Opened, sql: str) -> int | None:
    try:
        return int(_first(opened, sql))
    except (FeatureNotSupported, UndefinedFunction):
        return None


def _first(opened: Opened, sql: str) -> Any:
    row = opened.execute(sql).fetchone()
    return row[0] if row else None
