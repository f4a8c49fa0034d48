"""Who is asking, with all that they may do, in one question: every page begins with it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User

PERSON = """
SELECT who.*, CASE WHEN is_superuser THEN NULL ELSE ARRAY(
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


def person(pk: Any) -> User | None:
    """The active person of this id, and what Django would ask for later: their permissions. A superuser has all."""
    for user in User.objects.raw(PERSON, [pk]):
        found: Any = user
        if found.permissions is not None:
            found._perm_cache = set(found.permissions)  # where Django's own backend keeps them
        return user
    return None


class Backend(ModelBackend):
    """Django's own, but the person behind a session comes with their permissions."""

    def get_user(self, user_id: Any) -> User | None:
        return person(user_id)
