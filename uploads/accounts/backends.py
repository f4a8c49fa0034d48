"""The authentication backend: Django's own, with one query for a user and their permissions."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Model, OuterRef, QuerySet, Value
from django.db.models.functions import Concat

from uploads.models.querysets import ANY_USER, CompiledQuery, bind


class PermissionBackend(ModelBackend):
    """Load the signed-in user together with their own permissions and those of their groups."""

    def get_user(self, user_id: int) -> User | None:
        user: Any = next(iter(User.objects.raw(*bind(_user_query(), {ANY_USER: user_id}))), None)
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
            user_obj.permission_names = getattr(self.get_user(user_obj.pk), "permission_names", set())
        names: set[str] = user_obj.permission_names
        return names


@cache
def _user_query() -> CompiledQuery:
    """Return the query of one user with arrays of permission names. Postgres plans it with each request: a join with
    the groups themselves, as `group__user` adds, would take it half as long again."""
    groups = User.groups.through.objects.filter(user=OuterRef(OuterRef("pk"))).values("group")
    users = User.objects.filter(pk=ANY_USER).annotate(
        own_permissions=ArraySubquery(_names(Permission.objects.filter(user=OuterRef("pk")))),
        group_permissions=ArraySubquery(_names(Permission.objects.filter(group__in=groups))),
    )
    return users.query.sql_with_params()


def _names(permissions: QuerySet[Permission]) -> QuerySet[Any, Any]:
    """Select names such as `uploads.view_file`."""
    return permissions.order_by().values(full_name=Concat("content_type__app_label", Value("."), "codename"))
