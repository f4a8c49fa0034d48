"""People: the list of accounts, and what administrators change on them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Greatest, Lower
from django.utils.translation import gettext as _

from uploads.accounts.roles import (
    ROLES_BY_GROUP,
    Role,
    lock_roles,
    require_manageable,
    require_other_administrator,
    role_of,
)
from uploads.errors import Forbidden
from uploads.models import Action, Event, PasswordReset, PublicLink, Usage
from uploads.services import sign_in_events

logger = logging.getLogger(__name__)

MAX_SEARCH_CHARACTERS = 150
NO_ROLE = "none"


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """What the list shows: names and addresses that contain `search`, people with `role`, active or inactive ones."""

    search: str = ""
    role: str = ""
    is_active: bool | None = None


def list_people(query: PeopleFilter) -> QuerySet[User]:
    """Return people by name, with `usage`, `groups`, `last_seen` and `has_two_factor`."""
    rows = with_details(User.objects.all())
    for word in query.search.replace("\x00", "")[:MAX_SEARCH_CHARACTERS].split():
        rows = rows.filter(
            Q(username__icontains=word)
            | Q(email__icontains=word)
            | Q(first_name__icontains=word)
            | Q(last_name__icontains=word)
        )
    if query.role == Role.ADMINISTRATOR:
        rows = rows.filter(Q(is_superuser=True) | _in_groups([Role.ADMINISTRATOR.group_name]))
    elif query.role in Role.values:
        rows = rows.filter(_in_groups([Role(query.role).group_name]), is_superuser=False)
    elif query.role == NO_ROLE:
        rows = rows.filter(~_in_groups(ROLES_BY_GROUP), is_superuser=False)
    if query.is_active is not None:
        rows = rows.filter(is_active=query.is_active)
    return rows.order_by(Lower("username"), "pk")


def with_details(rows: QuerySet[User]) -> QuerySet[User]:
    """Add what the pages show of a person. `last_seen` is the last sign-in, session renewal or recorded action."""
    events = Event.objects.filter(actor_id=OuterRef("pk")).order_by("-id").values("at")[:1]
    sessions = UserSession.objects.filter(user=OuterRef("pk")).order_by().values("user")
    factors = Authenticator.objects.filter(user=OuterRef("pk")).exclude(type=Authenticator.Type.RECOVERY_CODES)
    return (
        rows.select_related("usage")
        .prefetch_related("groups")
        .annotate(
            last_seen=Greatest(
                "last_login", Subquery(events), Subquery(sessions.annotate(at=Max("last_seen_at")).values("at"))
            ),
            has_two_factor=Exists(factors),
        )
    )


def usage_of(user: User) -> Usage:
    """Return the person's usage, which is empty before the first upload."""
    return getattr(user, "usage", None) or Usage(owner=user)


def deactivate(user: User, *, by: User) -> None:
    """Close the account: sessions end, and so does each link that this person made, because each use asks for it.

    Safe to repeat. Raises what `require_deactivatable` does.
    """
    with transaction.atomic():
        lock_roles()
        require_deactivatable(user, by=by)
        if User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
            user.is_active = False
            PasswordReset.objects.get_queryset().filter(user=user).revoke(by=by)
            sign_in_events.activated(user, by=by)


def require_deactivatable(user: User, *, by: User) -> None:
    """Raise Forbidden for oneself and for people above `by`, LastAdministrator for the last one."""
    if user.pk == by.pk:
        raise Forbidden(_("You can't deactivate your own account. Ask another administrator."))
    require_manageable(user, by=by)
    if user.is_active and role_of(user) == Role.ADMINISTRATOR:
        require_other_administrator(user)


def reactivate(user: User, *, by: User) -> None:
    """Open the account again; links that are neither revoked nor expired work again. Safe to repeat."""
    require_manageable(user, by=by)
    with transaction.atomic():
        if User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
            user.is_active = True
            sign_in_events.activated(user, by=by)


def set_quotas(user: User, *, quota_bytes: int | None, quota_files: int | None, by: User) -> None:
    """Set the limits of this person; None is the site's setting. A limit below what is stored only stops uploads."""
    require_manageable(user, by=by)
    with transaction.atomic():
        usage = Usage.objects.locked(user.pk)
        if (usage.quota_bytes, usage.quota_files) == (quota_bytes, quota_files):
            return
        Usage.objects.filter(pk=usage.pk).update(quota_bytes=quota_bytes, quota_files=quota_files)
        Event.objects.record(
            Action.LIMIT, by=by, name=user.get_username(), bytes=quota_bytes, files=quota_files,
            before={"bytes": usage.quota_bytes, "files": usage.quota_files},
        )  # fmt: skip
    logger.info("quota_changed user=%s by=%s", user.pk, by.pk)


def set_email(user: User, email: str, *, by: User) -> None:
    """Set the address, to which links for a new password are sent and by which single sign-on finds the account."""
    require_manageable(user, by=by)
    with transaction.atomic():
        if not User.objects.filter(pk=user.pk).exclude(email=email).update(email=email):
            return
        user.email = email
        PasswordReset.objects.get_queryset().filter(user=user).revoke(by=by)
        Event.objects.record(Action.ACCOUNT, by=by, name=user.get_username(), change="email")
    logger.info("account_email_changed user=%s by=%s", user.pk, by.pk)


def active_links_of(user: User) -> list[tuple[str, list[PublicLink]]]:
    """Return the links of this person that work now, by kind: what deactivating the account ends."""
    links = []
    for model in apps.get_models():
        if issubclass(model, PublicLink) and model is not PasswordReset:
            rows = model._default_manager.get_queryset().unexpired().filter(created_by=user)
            active = [link for link in rows.order_by("-pk") if not link.is_used_up]
            if active:
                links.append((str(model._meta.verbose_name_plural), active))
    return links


def _in_groups(names: object) -> Exists:
    return Exists(Group.objects.filter(user=OuterRef("pk"), name__in=list(names)))  # type: ignore[call-overload]
