"""The data around a list: people and tags to filter by, its file count, and the user's unfinished uploads."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib.auth.models import User
from django.db import connections, router

from uploads.models.states import State
from uploads.models.statistics import Figure, Status

SIDEBAR_QUERY = """
SELECT ARRAY(SELECT username FROM auth_user ORDER BY username LIMIT %s),
       ARRAY(SELECT name FROM uploads_tag ORDER BY folded LIMIT %s),
       (SELECT files FROM uploads_figure WHERE kind = %s AND key = %s AND status = %s),
       (SELECT count(*) FROM uploads_file WHERE owner_id = %s AND state IN (%s, %s))
"""


class Sidebar(NamedTuple):
    people: list[str]
    tags: list[str]
    files: int | None
    unfinished: int


def load_sidebar(user: User, limit: int, figure: tuple[str, str] | None) -> Sidebar:
    """Return up to `limit` people and tags each, sorted, the file count of the statistic with this kind and key, and
    how many uploads this user has not finished. One query."""
    kind, key = figure or ("", "")
    with connections[router.db_for_read(Figure)].cursor() as cursor:
        unfinished: list[Any] = [user.pk, State.UPLOADING, State.COMPLETING]
        cursor.execute(SIDEBAR_QUERY, [limit, limit, kind, key, Status.STORED, *unfinished])
        return Sidebar(*cursor.fetchone())
