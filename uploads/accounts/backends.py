"""The authentication backend: Django's own, with one query for a user and their permissions.

Public links are loaded in the same way, since each use asks what their creator may do.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db import connections, router
from django.db.models import BinaryField, Func, Model, OuterRef, QuerySet, Value
from django.db.models.functions import Concat

from uploads.models.compiled import ANY_USER, CompiledQuery, bind
from uploads.models.links import TOKEN, Link, token_digest

ANY_DIGEST = "0" * 64  # the placeholder of a token's digest in hexadecimal digits, for `bind`


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


def load_link_and_creator(model: type[Link], token: str) -> Link | None:
    """Return the link with this token, in any state, or None. Its creator is loaded with their permissions.

    Accepts any text. One query, compiled once for each model, since every use of a link needs it.
    """
    if not TOKEN.fullmatch(token):
        return None
    sql, parameters = bind(_link_query(model), {ANY_DIGEST: token_digest(token).hex()})
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
    digest = Func(Value(ANY_DIGEST), Value("hex"), function="decode", output_field=BinaryField())
    links = model._default_manager.filter(token_digest=digest).order_by().select_related("created_by")
    return links.annotate(**_permissions("created_by")).query.sql_with_params()


@cache
def _columns(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def _user_query() -> CompiledQuery:
    """Return the query of one user with arrays of permission names."""
    return User.objects.filter(pk=ANY_USER).annotate(**_permissions("pk")).query.sql_with_params()


def _permissions(user_field: str) -> dict[str, ArraySubquery]:
    """Return annotations with the names of the user's own permissions and of those of their groups.

    Postgres plans them in every request: a join with the groups themselves, as `group__user` adds, would make that
    half as long again.
    """
    groups = User.groups.through.objects.filter(user=OuterRef(OuterRef(user_field))).values("group")
    return {
        "own_permissions": ArraySubquery(_names(Permission.objects.filter(user=OuterRef(user_field)))),
        "group_permissions": ArraySubquery(_names(Permission.objects.filter(group__in=groups))),
    }


def _names(permissions: QuerySet[Permission]) -> QuerySet[Any, Any]:
    """Select names such as `uploads.view_file`."""
    return permissions.order_by().values(full_name=Concat("content_type__app_label", Value("."), "codename"))
