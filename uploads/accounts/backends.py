"""The authentication backend: Django's own, with one query for a user and their permissions."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Model, OuterRef, QuerySet, Value
from django.db.models.functions import Concat

ANY_USER = -1  # stands for the id of a user in the compiled query


class PermissionBackend(ModelBackend):
    """Load the signed-in user together with their own permissions and those of their groups.

    Every request does so, and Django takes longer to compile these queries than Postgres to answer them.
    """

    def get_user(self, user_id: int) -> User | None:
        sql, parameters = _user_query()
        values = [user_id if parameter == ANY_USER else parameter for parameter in parameters]
        user: Any = next(iter(User.objects.raw(sql, values)), None)
        if user is None or not self.user_can_authenticate(user):
            return None
        user.permission_names = {*user.own_permissions, *user.group_permissions}
        loaded: User = user
        return loaded

    def get_all_permissions(self, user_obj: Any, obj: Model | None = None) -> set[str]:
        if user_obj.is_superuser or obj is not None:
            return super().get_all_permissions(user_obj, obj)
        if not user_obj.is_active or user_obj.is_anonymous:
            return set()
        if not hasattr(user_obj, "permission_names"):
            user_obj.permission_names = _permission_names(user_obj)
        names: set[str] = user_obj.permission_names
        return names


@cache
def _user_query() -> tuple[str, tuple[Any, ...]]:
    """Return the compiled query of one user with arrays of permission names, and its parameters."""
    users = User.objects.filter(pk=ANY_USER).annotate(
        own_permissions=ArraySubquery(_names(Permission.objects.filter(user=OuterRef("pk")))),
        group_permissions=ArraySubquery(_names(Permission.objects.filter(group__user=OuterRef("pk")))),
    )
    return users.query.sql_with_params()


def _permission_names(user: User) -> set[str]:
    own, of_groups = (
        _names(permissions).values_list("name_in_code", flat=True)
        for permissions in (Permission.objects.filter(user=user), Permission.objects.filter(group__user=user))
    )
    return set(own.union(of_groups))


def _names(permissions: QuerySet[Permission]) -> QuerySet[Any, Any]:
    """Select names such as `uploads.view_file`."""
    name = Concat("content_type__app_label", Value("."), "codename")
    return permissions.order_by().annotate(name_in_code=name).values("name_in_code")
