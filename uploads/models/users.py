"""Load the user of a request with all permissions in one query, since every page needs both."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.db import connection

USER_QUERY = """
SELECT {columns}, CASE WHEN is_superuser THEN NULL ELSE ARRAY(
    SELECT type.app_label || '.' || permission.codename
    FROM auth_permission AS permission JOIN django_content_type AS type ON type.id = permission.content_type_id
    WHERE permission.id IN (
        SELECT permission_id FROM auth_user_user_permissions WHERE user_id = person.id
        UNION ALL
        SELECT permission_id FROM auth_group_permissions JOIN auth_user_groups USING (group_id)
        WHERE user_id = person.id
    )
) END AS permissions
FROM auth_user AS person WHERE id = %s AND is_active
"""


COLUMNS = [field.attname for field in User._meta.concrete_fields]


def load_user(pk: Any) -> User | None:
    """Return the active user with this id, or None, with the permission cache filled. Superusers need no cache."""
    with connection.cursor() as cursor:
        cursor.execute(USER_QUERY.format(columns=", ".join(COLUMNS)), [pk])
        row = cursor.fetchone()
    if row is None:
        return None
    user: Any = User.from_db(connection.alias, COLUMNS, row[:-1])
    if row[-1] is not None:
        user._perm_cache = set(row[-1])  # where Django's own backend caches them
    return cast(User, user)


class CachedPermissionBackend(ModelBackend):
    """ModelBackend that loads the user of a session together with the permissions."""

    def get_user(self, user_id: Any) -> User | None:
        return load_user(user_id)
