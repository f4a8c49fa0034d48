"""Who is asking, with all that they may do, in one question: every page begins with it."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.db import connection

USER_QUERY = """
SELECT {columns}, CASE WHEN is_superuser THEN NULL ELSE ARRAY(
    SELECT app.app_label || '.' || may.codename
    FROM auth_permission AS may JOIN django_content_type AS app ON app.id = may.content_type_id
    WHERE may.id IN (
        SELECT permission_id FROM auth_user_user_permissions WHERE user_id = who.id
        UNION ALL
        SELECT permission_id FROM auth_group_permissions JOIN auth_user_groups USING (group_id) WHERE user_id = who.id
    )
) END AS permissions
FROM auth_user AS who WHERE id = %s AND is_active
"""


COLUMNS = [field.attname for field in User._meta.concrete_fields]


def load_user(pk: Any) -> User | None:
    """The active person of this id, and what Django would ask for later: their permissions. A superuser has all."""
    with connection.cursor() as cursor:
        cursor.execute(USER_QUERY.format(columns=", ".join(COLUMNS)), [pk])
        row = cursor.fetchone()
    if row is None:
        return None
    found: Any = User.from_db(connection.alias, COLUMNS, row[:-1])
    if row[-1] is not None:
        found._perm_cache = set(row[-1])  # where Django's own backend keeps them
    return cast(User, found)


class CachedPermissionBackend(ModelBackend):
    """Django's own, but the person behind a session comes with their permissions."""

    def get_user(self, user_id: Any) -> User | None:
        return load_user(user_id)
