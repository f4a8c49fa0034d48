"""The authentication backend: Django's own, with one query for a user and their permissions."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db import connections, router
from django.db.models import Model, OuterRef, QuerySet, Value
from django.db.models.functions import Concat

from uploads.models.links import TOKEN, Link, token_digest
from uploads.models.querysets import ANY_USER, CompiledQuery, bind

ANY_DIGEST = bytes(32)  # a placeholder, as those of `bind`


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


def load_link(model: type[Link], token: str) -> Link | None:
    """Return the link with this token, in any state, with its creator and the creator's permissions; None without one.

    One query, compiled once for each model: downloads by link do this each time.
    """
    if not TOKEN.fullmatch(token):
        return None
    sql, parameters = bind(_link_query(model), {ANY_DIGEST: token_digest(token)})
    alias = router.db_for_read(model)
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
    if row is None:
        return None
    link_fields, user_fields = _columns(model), _columns(User)
    end, start = len(link_fields), len(row) - len(user_fields)
    link: Any = model.from_db(alias, link_fields, row[:end])
    creator: Any = User.from_db(alias, user_fields, row[start:])
    link.expired, own_permissions, group_permissions = row[end:start]
    creator.permission_names = {*own_permissions, *group_permissions}
    link.created_by = creator
    loaded: Link = link
    return loaded


@cache
def _link_query(model: type[Link]) -> CompiledQuery:
    """Return the query of one link. Its columns are those of the link, three annotations, and those of the creator."""
    links = model._default_manager.filter(token_digest=ANY_DIGEST).order_by().select_related("created_by")
    sql, parameters = links.annotate(**_permissions("created_by")).query.sql_with_params()
    # all others are texts; the driver wraps this one in an object that is equal to no other
    return sql, tuple(text if isinstance(text, str) else ANY_DIGEST for text in parameters)


@cache
def _columns(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def _user_query() -> CompiledQuery:
    """Return the query of one user with arrays of permission names."""
    return User.objects.filter(pk=ANY_USER).annotate(**_permissions("pk")).query.sql_with_params()


def _permissions(user: str) -> dict[str, ArraySubquery]:
    """Return annotations with the names of permissions of the user in this field. Postgres plans them with each
    request: a join with the groups themselves, as `group__user` adds, would take it half as long again."""
    groups = User.groups.through.objects.filter(user=OuterRef(OuterRef(user))).values("group")
    return {
        "own_permissions": ArraySubquery(_names(Permission.objects.filter(user=OuterRef(user)))),
        "group_permissions": ArraySubquery(_names(Permission.objects.filter(group__in=groups))),
    }


def _names(permissions: QuerySet[Permission]) -> QuerySet[Any, Any]:
    """Select names such as `uploads.view_file`."""
    return permissions.order_by().values(full_name=Concat("content_type__app_label", Value("."), "codename"))
