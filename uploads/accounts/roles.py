"""Roles and teams: a role is a group that migrations create, and a person has at most one; teams are the others, which
folders can be opened to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission, User
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from amalga.db import advisory_lock
from uploads import names
from uploads.errors import Conflict, Forbidden, InvalidTransition, ValidationFailed
from uploads.models import Action, Event, Grant, NotificationKind
from uploads.services.notifications import notify, operators

logger = logging.getLogger(__name__)

LOCK = 0x726F6C6573  # one change at a time: two administrators could remove each other


class Role(models.TextChoices):
    """The roles, each with the permissions of the ones before it."""

    VIEWER = "viewer", gettext_lazy("Viewer")
    UPLOADER = "uploader", gettext_lazy("Uploader")
    MANAGER = "manager", gettext_lazy("Manager")
    ADMINISTRATOR = "administrator", gettext_lazy("Administrator")

    @property
    def group_name(self) -> str:
        return f"{self.value}s"


ROLES_BY_GROUP = {role.group_name: role for role in Role}


class LastAdministrator(InvalidTransition):
    """Without this person no one could manage people."""

    def __init__(self) -> None:
        super().__init__(_("This is the last active administrator. Make someone else an administrator first."))


def role_of(user: User) -> Role | None:
    """Return the highest of the user's roles, or None. Superusers are administrators.

    Uses the prefetched `groups` if there are any.
    """
    if user.is_superuser:
        return Role.ADMINISTRATOR
    names = {group.name for group in user.groups.all()}
    roles = [role for role in Role if role.group_name in names]
    return roles[-1] if roles else None


def set_role(user: User, role: Role | None, *, by: User | None) -> bool:
    """Give the user this role instead of the one they have, and access to the Django admin if it is administrator.

    `by` is None for what the program does by itself. Returns whether anything changed; safe to repeat. Raises
    Forbidden for a role or a user above `by`, for one's own role and for superusers, and LastAdministrator if no other
    administrator is active.
    """
    is_staff = role == Role.ADMINISTRATOR
    with transaction.atomic():
        lock_roles()
        current = set(user.groups.filter(name__in=ROLES_BY_GROUP).values_list("name", flat=True))
        before = role_of(user)
        desired = {role.group_name} if role else set()
        if current == desired and User.objects.filter(pk=user.pk, is_staff=is_staff).exists():
            return False
        if user.is_superuser:
            raise Forbidden(_("Superusers keep their role. Change that in the Django admin."))
        if by is not None and by.pk == user.pk:
            raise Forbidden(_("You can't change your own role. Ask another administrator."))
        require_manageable(user, by=by)
        if role is not None:
            require_grantable([group_of(role)], by=by)
        if before == Role.ADMINISTRATOR:
            require_other_administrator(user)
        user.groups.remove(*Group.objects.filter(name__in=current - desired))
        if role is not None:
            user.groups.add(group_of(role))
        User.objects.filter(pk=user.pk).update(is_staff=is_staff)
        user.is_staff = is_staff
        Event.objects.record(
            Action.ROLE, by=by, name=user.get_username(), role=role.value if role else "",
            before=before.value if before else "",
        )  # fmt: skip
    logger.info("role_changed user=%s role=%s by=%s", user.pk, role.value if role else "none", by.pk if by else None)
    return True


def group_of(role: Role) -> Group:
    """Return the role's group, which only a superuser could have deleted or renamed."""
    group = Group.objects.filter(name=role.group_name).first()
    if group is None:
        text = _("The group “%(name)s” is missing. Create it again in the Django admin, with its permissions.")
        raise InvalidTransition(text % {"name": role.group_name})
    return group


def role_groups() -> list[Group]:
    """Return the groups of the roles, from viewers up."""
    groups = Group.objects.in_bulk(ROLES_BY_GROUP, field_name="name")
    return [groups[name] for name in ROLES_BY_GROUP if name in groups]


def group_label(group: Group) -> str:
    """Return the name to show for a group: teams have their own."""
    role = ROLES_BY_GROUP.get(group.name)
    return _("Role: %(role)s") % {"role": role.label} if role else group.name


def grantable_roles(by: User | None) -> list[Role]:
    """Return the roles that `by` may give: those with no permission that they lack."""
    if by is None or by.is_superuser:
        return list(Role)
    lacking = Permission.objects.exclude(pk__in=_permissions_of(by).values("pk"))
    above = set(Group.objects.filter(name__in=ROLES_BY_GROUP, permissions__in=lacking).values_list("name", flat=True))
    return [role for role in Role if role.group_name not in above]


# --- teams --------------------------------------------------------------------------------------


def teams() -> QuerySet[Group]:
    return Group.objects.exclude(name__in=ROLES_BY_GROUP).order_by("name")


def teams_of(user: User) -> list[Group]:
    """Return the user's teams by name. Uses the prefetched `groups` if there are any."""
    return sorted(
        (group for group in user.groups.all() if group.name not in ROLES_BY_GROUP), key=lambda team: team.name
    )


def set_teams(user: User, chosen: Iterable[Group], *, by: User | None) -> bool:
    """Make these the user's teams; groups that are roles are ignored. Returns whether anything changed.

    Raises Forbidden for a user above `by`, and for a team with permissions that `by` lacks.
    """
    desired = {team.pk: team for team in chosen if team.name not in ROLES_BY_GROUP}
    with transaction.atomic():
        lock_roles()
        current = {team.pk: team for team in user.groups.exclude(name__in=ROLES_BY_GROUP)}
        added = [team for pk, team in desired.items() if pk not in current]
        removed = [team for pk, team in current.items() if pk not in desired]
        if not added and not removed:
            return False
        require_manageable(user, by=by)
        require_grantable(added, by=by)
        user.groups.add(*added)
        user.groups.remove(*removed)
        for team in added:
            notify_added(user, team)
        Event.objects.record(
            Action.TEAM, by=by, name=user.get_username(),
            added=[team.name for team in added], removed=[team.name for team in removed],
        )  # fmt: skip
    logger.info("teams_changed user=%s by=%s", user.pk, by.pk if by else None)
    return True


def notify_added(user: User, team: Group) -> None:
    """Notify a user who was added to a team, once a day for each team."""
    notify(user, NotificationKind.INVITED, key=f"{team.pk} {timezone.now():%Y-%m-%d}", team=team.name)


# --- who may manage whom ------------------------------------------------------------------------


def is_manageable(user: User, *, by: User | None) -> bool:
    """Return whether `by` may manage this account: superusers manage all, others those with no more permissions.

    With the account of another person one would have their permissions.
    """
    if by is None or by.is_superuser:
        return True
    return not user.is_superuser and not _exceeds(_permissions_of(user), by)


def require_manageable(user: User, *, by: User | None) -> None:
    if not is_manageable(user, by=by):
        raise Forbidden(_("You can't change the account of someone with more permissions than you have."))


def require_grantable(groups: Iterable[Group], *, by: User | None) -> None:
    """Raise Forbidden if the groups have permissions that `by` lacks."""
    if _exceeds(Permission.objects.filter(group__in=list(groups)), by):
        raise Forbidden(_("You can't give more permissions than you have."))


def require_other_administrator(user: User) -> None:
    """Raise LastAdministrator unless another administrator is active. Call it after `lock_roles`."""
    if not operators().exclude(pk=user.pk).exists():
        raise LastAdministrator


def lock_roles() -> None:
    """Wait for other changes of roles, until the transaction ends."""
    advisory_lock(LOCK)


def _exceeds(permissions: QuerySet[Permission], by: User | None) -> bool:
    """Return whether any of these permissions is one that `by` lacks."""
    if by is None or by.is_superuser:
        return False
    return permissions.exclude(pk__in=_permissions_of(by).values("pk")).exists()


def _permissions_of(user: User) -> QuerySet[Permission]:
    """Return the permissions that the user has, or would have if the account was active."""
    return Permission.objects.filter(Q(user=user) | Q(group__user=user))


# --- changes of a team -----------------------------------------------------------------------------


MAX_NAME_CHARACTERS = 150  # of Django's groups
MAX_MEMBERS_AT_ONCE = 200


def clean_team_name(text: str) -> str:
    """Return the cleaned name of a team. Raises ValidationFailed for one that is empty, too long or a role's."""
    text = text.replace("\x00", "").strip()
    if "/" in text or "\\" in text:
        raise ValidationFailed(_("Team names can't contain slashes."))
    name = names.clean_name(text) if len(text) <= names.MAX_TYPED_CHARACTERS else text
    if name == names.DEFAULT_NAME != text:  # nothing to see in it
        raise ValidationFailed(_("Enter a name."))
    if len(name) > MAX_NAME_CHARACTERS:
        raise ValidationFailed(_("Team names can have at most %(max)s characters.") % {"max": MAX_NAME_CHARACTERS})
    normalized = names.normalize_for_search(name)
    if normalized in {*ROLES_BY_GROUP, *Role.values}:
        raise ValidationFailed(_("“%(name)s” is the name of a role. Pick another name.") % {"name": name})
    return name


def create_team(name: str, *, by: User) -> Group:
    """Create a team with this clean name. Raises Conflict if there is one of the same name."""
    with transaction.atomic():
        lock_roles()
        _require_free(name)
        team = Group.objects.create(name=name)
        Event.objects.record(Action.TEAM, by=by, name=name, change="created")
    logger.info("team_created team=%s by=%s", team.pk, by.pk)
    return team


def rename_team(team: Group, name: str, *, by: User) -> None:
    require_grantable([team], by=by)
    with transaction.atomic():
        lock_roles()
        _require_free(name, but=team)
        before, team.name = team.name, name
        Group.objects.filter(pk=team.pk).update(name=name)
        Event.objects.record(Action.TEAM, by=by, name=name, change="renamed", before=before)
    logger.info("team_renamed team=%s by=%s", team.pk, by.pk)


def delete_team(team: Group, *, by: User) -> None:
    """Delete a team, and the access to folders that its members had by it."""
    require_grantable([team], by=by)
    with transaction.atomic():
        lock_roles()
        members = sorted(team.user_set.values_list("username", flat=True))
        Event.objects.record(
            Action.TEAM, by=by, name=team.name, change="deleted", members=members[:MAX_MEMBERS_AT_ONCE],
            count=len(members), folders=_folder_ids(team),
        )  # fmt: skip
        pk = team.pk
        team.delete()
    logger.info("team_deleted team=%s by=%s", pk, by.pk)


def change_members(team: Group, *, add: Iterable[User] = (), remove: Iterable[User] = (), by: User) -> bool:
    """Add and remove members. Returns whether anything changed; safe to repeat.

    Raises Forbidden for a team with permissions that `by` lacks, and for people above `by`.
    """
    require_grantable([team], by=by)
    with transaction.atomic():
        lock_roles()
        members = set(team.user_set.values_list("pk", flat=True))
        added = [user for user in add if user.pk not in members]
        removed = [user for user in remove if user.pk in members]
        for user in (*added, *removed):
            require_manageable(user, by=by)
        if not added and not removed:
            return False
        team.user_set.add(*added)
        team.user_set.remove(*removed)
        for user in added:
            notify_added(user, team)
        Event.objects.record(
            Action.TEAM, by=by, name=team.name, change="members",
            added=[user.get_username() for user in added], removed=[user.get_username() for user in removed],
        )  # fmt: skip
    logger.info("team_members_changed team=%s added=%s removed=%s by=%s", team.pk, len(added), len(removed), by.pk)
    return True


def _folder_ids(team: Group) -> list[int]:
    return list(Grant.objects.filter(group=team).order_by("folder_id").values_list("folder_id", flat=True)[:1000])


def _require_free(name: str, *, but: Group | None = None) -> None:
    """Raise Conflict if another team has this name; “Été” and “ete” are the same, as with tags."""
    normalized = names.normalize_for_search(name)
    others = [team for team in teams() if team != but]
    if any(names.normalize_for_search(team.name) == normalized for team in others):
        raise Conflict(_("A team named “%(name)s” already exists.") % {"name": name})
