"""Teams: groups of people that folders can be opened to."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils.translation import gettext as _

from uploads import names
from uploads.accounts.roles import (
    ROLES_BY_GROUP,
    Role,
    lock_roles,
    notify_added,
    require_grantable,
    require_manageable,
    teams,
)
from uploads.errors import Conflict, ValidationFailed
from uploads.models import Action, Event, Grant

logger = logging.getLogger(__name__)

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
