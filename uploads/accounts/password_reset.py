"""Links to choose a new password: mailed to people who ask for one, or made by administrators."""

from __future__ import annotations

import logging

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext as _
from django_tasks import task

from uploads.accounts.claims import is_same_address
from uploads.accounts.factors import may_sign_in_here
from uploads.accounts.roles import is_manageable, require_manageable
from uploads.errors import Forbidden
from uploads.models import Action, Event, LinkState, PasswordReset, create_link
from uploads.models.links import PublicLinkQuerySet, absolute_url
from uploads.models.querysets import seconds_from_now
from uploads.services import mail, sign_in_events

logger = logging.getLogger(__name__)

HOURS = 24
MAX_ACCOUNTS = 10  # that share one address


def create_reset(user: User, *, by: User) -> tuple[PasswordReset, str]:
    """Create a link with which the user chooses a new password, and return it with its token.

    Earlier links that others made for the account are revoked. Raises Forbidden for people above `by`,
    and if passwords are turned off (SSO_ONLY).
    """
    require_manageable(user, by=by)
    if not may_sign_in_here(user):
        raise Forbidden(_("Passwords are turned off. Use single sign-on."))
    with transaction.atomic():
        if by.pk != user.pk:
            _resets_of(user).exclude(created_by=user).revoke(by=by)
        reset, token = create_link(
            PasswordReset, user=user, created_by=by, expires_at=seconds_from_now(HOURS * 3600)
        )  # fmt: skip
        Event.objects.record(Action.PASSWORD, by=by, name=user.get_username(), change="reset_link")
    logger.info("password_reset_created user=%s by=%s", user.pk, by.pk)
    return PasswordReset.objects.get(pk=reset.pk), token


def reset_path(token: str) -> str:
    return reverse("reset_password", args=[token])


def request_reset(email: str, language: str) -> None:
    """Have a link mailed to the accounts with this address, if there are any.

    The worker looks for them, so that the caller takes the same time for every address.
    """
    mail_resets.enqueue(email, language)


@task()
def mail_resets(email: str, language: str) -> int:
    """Mail a link for each active account with this address that has a password. Returns how many."""
    rows = User.objects.filter(email__iexact=email, is_active=True).order_by("pk")[:MAX_ACCOUNTS]
    users = [user for user in rows if is_same_address(user.email, email) and may_sign_in_here(user)]
    users = [user for user in users if user.has_usable_password()]
    for user in users:
        with transaction.atomic():
            _reset, token = create_reset(user, by=user)
            context = {"username": user.get_username(), "url": absolute_url(reset_path(token)), "hours": HOURS}
            mail.enqueue("password_reset", to=user.email, language=language, context=context)
    return len(users)


def is_backed(reset: PasswordReset) -> bool:
    """Return whether the account is active, and its user may still be managed by the person who made the link."""
    by = reset.created_by
    is_allowed = by.pk == reset.user_id or by.has_perm("uploads.manage_people")
    if not reset.user.is_active or not by.is_active or not may_sign_in_here(reset.user):
        return False
    return is_allowed and is_manageable(reset.user, by=_manager(reset))


def set_password(reset: PasswordReset, password: str) -> bool:
    """Set the password and end all sessions; the second factor stays.

    Returns False, and changes nothing, if the link was used, revoked or expired in the meantime.
    """
    with transaction.atomic():
        locked = PasswordReset.objects.select_for_update(of=("self",)).get(pk=reset.pk)
        if locked.state != LinkState.ACTIVE or not is_backed(locked):
            return False
        user = locked.user
        user.set_password(password)
        user.save(update_fields=["password"])
        PasswordReset.objects.filter(pk=locked.pk).update(use_count=1, last_used_at=Now())
        _resets_of(user).exclude(pk=locked.pk).revoke(by=user)
        sign_in_events.password_changed(user, by=user)
        sign_in_events.end_sessions(user, by=user, reason="password")
    return True


def _manager(reset: PasswordReset) -> User | None:
    """Return who vouches for the link: None for a link that its user requested."""
    return None if reset.created_by_id == reset.user_id else reset.created_by


def _resets_of(user: User) -> PublicLinkQuerySet[PasswordReset]:
    return PasswordReset.objects.get_queryset().filter(user=user, use_count=0)
