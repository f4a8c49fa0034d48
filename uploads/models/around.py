"""What stands around a list: the people and tags that it can be filtered by, and how much it holds."""

from __future__ import annotations

from typing import NamedTuple

from django.db import connections, router

from uploads.models.figures import Figure, Status

AROUND = """
SELECT ARRAY(SELECT username FROM auth_user ORDER BY username LIMIT %s),
       ARRAY(SELECT name FROM uploads_tag ORDER BY folded LIMIT %s),
       (SELECT files FROM uploads_figure WHERE kind = %s AND key = %s AND status = %s)
"""


class Around(NamedTuple):
    people: list[str]
    tags: list[str]
    files: int | None


def look_around(most: int, figure: tuple[str, str] | None) -> Around:
    """At most so many people and tags, in their order, and the kept figure of this kind and key. One query."""
    kind, key = figure or ("", "")
    with connections[router.db_for_read(Figure)].cursor() as cursor:
        cursor.execute(AROUND, [most, most, kind, key, Status.STORED])
        return Around(*cursor.fetchone())
