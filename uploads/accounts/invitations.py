"""Invitations: a link that creates one account, with a role and teams."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import get_language

from uploads.accounts.claims import is_same_address
from uploads.accounts.roles import Role, group_of, require_grantable, set_role, set_teams
from uploads.errors import Forbidden
from uploads.models import Action, Event, Invitation, LinkState, create_link
from uploads.models.links import absolute_url
from uploads.models.querysets import seconds_from_now
from uploads.services import mail

logger = logging.getLogger(__name__)

PERMISSION = "uploads.manage_people"


def invite(*, by: User, role: Role, email: str = "", teams: Iterable[Group] = ()) -> tuple[Invitation, str]:
    """Create an invitation, and return it with its token, which cannot be read again.

    An earlier open invitation of the same address is revoked. With an address and a mail server, the link is mailed.
    Raises Forbidden for a role or a team with permissions that `by` lacks.
    """
    teams = list(teams)
    require_grantable([group_of(role), *teams], by=by)
    with transaction.atomic():
        for earlier in _open_for(email):
            revoke(earlier, by=by)
        invitation, token = create_link(
            Invitation, created_by=by, email=email, role=role.value,
            expires_at=seconds_from_now(settings.INVITATION_DAYS * 24 * 3600),
        )  # fmt: skip
        invitation.teams.set(teams)
        _record(invitation, by=by, change="created", role=role.value, teams=[team.name for team in teams])
        if email:
            context = {
                "inviter": by.get_full_name() or by.get_username(),
                "url": absolute_url(invitation_path(token)),
                "days": settings.INVITATION_DAYS,
            }
            mail.enqueue("invitation", to=email, language=get_language() or "en", context=context)
    logger.info("invitation_created invitation=%s role=%s by=%s", invitation.pk, role.value, by.pk)
    return Invitation.objects.get(pk=invitation.pk), token


def invitation_path(token: str) -> str:
    return reverse("accept_invitation", args=[token])


def revoke(invitation: Invitation, *, by: User | None) -> bool:
    """Revoke an open invitation. Returns False if it was accepted or revoked before; safe to repeat."""
    rows = Invitation.objects.get_queryset().filter(pk=invitation.pk, accepted_at__isnull=True)
    with transaction.atomic():
        if not rows.revoke(by=by):
            return False
        _record(invitation, by=by, change="revoked")
    logger.info("invitation_revoked invitation=%s by=%s", invitation.pk, by.pk if by else None)
    return True


def renew(invitation: Invitation, *, by: User) -> tuple[Invitation, str] | None:
    """Revoke an invitation and create the same again, which is mailed again; return it with its token.

    Returns None if it was accepted. Raises Forbidden as `invite` does.
    """
    if invitation.state == LinkState.USED_UP:
        return None
    with transaction.atomic():
        revoke(invitation, by=by)
        teams = list(invitation.teams.all())
        return invite(by=by, role=Role(invitation.role), email=invitation.email, teams=teams)


def is_backed(invitation: Invitation) -> bool:
    """Return whether the person who made the invitation may still invite people with this role and these teams."""
    by = User.objects.get(pk=invitation.created_by_id)
    if not by.is_active or not by.has_perm(PERMISSION):
        return False
    try:
        require_grantable([group_of(Role(invitation.role)), *invitation.teams.all()], by=by)
    except Forbidden:
        return False
    return True


def accept(invitation: Invitation, user: User) -> bool:
    """Save the new account with the invitation's address, role and teams.

    Returns False, and saves nothing, if the invitation was used, revoked or expired in the meantime: of two racing
    callers one wins. Raises IntegrityError if the name was taken in the meantime.
    """
    with transaction.atomic():
        locked = Invitation.objects.select_for_update(of=("self",)).get(pk=invitation.pk)
        if locked.state != LinkState.ACTIVE or not is_backed(locked):
            return False
        by = locked.created_by
        user.email = locked.email
        user.save()
        set_role(user, Role(locked.role), by=by)
        set_teams(user, locked.teams.all(), by=by)
        Invitation.objects.filter(pk=locked.pk).update(
            accepted_at=Now(), accepted_by=user, last_used_at=Now(), use_count=1
        )
        Event.objects.record(Action.ACCOUNT, by=user, name=user.get_username(), change="created", invited_by=str(by))
        _record(locked, by=user, change="accepted")
    logger.info("invitation_accepted invitation=%s user=%s", locked.pk, user.pk)
    return True


def account_with(email: str) -> User | None:
    """Return an account with this address, or None."""
    rows = User.objects.filter(email__iexact=email) if email else User.objects.none()
    return next((user for user in rows if is_same_address(user.email, email)), None)


def _open_for(email: str) -> list[Invitation]:
    rows = Invitation.objects.filter(email__iexact=email, accepted_at__isnull=True, revoked_at__isnull=True)
    return list(rows) if email else []


def _record(invitation: Invitation, *, by: User | None, **detail: Any) -> None:
    Event.objects.record(Action.INVITATION, by=by, name=invitation.email, invitation=invitation.pk, **detail)
