"""Link an identity at a provider to an account, or create the account, and give it the roles that the provider says."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from itertools import count
from typing import Any

from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from amalga.db import advisory_lock
from amalga.settings.single_sign_on import ALL_TEAMS
from uploads.accounts import factors
from uploads.accounts.claims import Claims, GroupsUnavailable, is_same_address
from uploads.accounts.roles import ROLES_BY_GROUP, Role, role_of, set_role, set_teams, teams_of
from uploads.errors import InvalidTransition
from uploads.models import Action, Event
from uploads.services import sign_in_events

logger = logging.getLogger(__name__)

LOCK = 0x6F696463  # one account created at a time: two identities could have the same address
MAX_USERNAME_CHARACTERS = 150
NOT_IN_USERNAMES = re.compile(r"[^a-z0-9._-]")


class IdentityRefused(Exception):
    """No account may be used or created for this identity. `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def link_or_create(request: HttpRequest, login: SocialLogin, claims: Claims) -> None:
    """Make the identity that of an account, at its first sign-in. Call it in a transaction. Raises IdentityRefused."""
    address = claims.address
    if not address:
        raise IdentityRefused("no_verified_address")
    advisory_lock(LOCK)
    if known := SocialAccount.objects.filter(provider=login.account.provider, uid=login.account.uid).first():
        login.account, login.user = known, known.user  # linked by another sign-in just now
        return
    accounts = [user for user in _accounts_with(address) if is_same_address(user.email, address)]
    if not accounts:
        login.connect(request, _create_account(claims, address))
    else:
        login.connect(request, _account_to_link(accounts, provider=login.account.provider))


def link_new_account(request: HttpRequest, login: SocialLogin, user_id: int) -> bool:
    """Link the identity to an account that has no password and no identity yet. Returns whether it did."""
    advisory_lock(LOCK)
    user = User.objects.filter(pk=user_id, is_active=True, socialaccount=None).first()
    if user is None or user.has_usable_password():
        return False
    login.connect(request, user)
    return True


class OnlyWayToSignIn(InvalidTransition):
    """Without this identity the person could not sign in."""

    def __init__(self) -> None:
        super().__init__(_("You can't disconnect your only way to sign in. Set up another one first."))


def disconnect(user: User, pk: int, *, providers: Collection[str]) -> SocialAccount | None:
    """Remove this identity from the user's account, and return it; None if the user has no such identity.

    `providers` are those that people can sign in with. Raises OnlyWayToSignIn if nothing else opens the account.
    """
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # two calls at once must not remove two identities
        identity = SocialAccount.objects.filter(user=user, pk=pk).first()
        if identity is None:
            return None
        others = SocialAccount.objects.filter(user=user, provider__in=providers).exclude(pk=pk)
        if not others.exists() and not has_way_to_sign_in_here(user):
            raise OnlyWayToSignIn
        identity.delete()
        sign_in_events.two_factor_changed(user, by=user, change="removed", kind="single_sign_on")
    return identity


def has_way_to_sign_in_here(user: User) -> bool:
    """Return whether a password or a passkey opens this account."""
    if not factors.may_sign_in_here(user):
        return False
    return user.has_usable_password() or factors.has_passkey(user)


def _accounts_with(address: str) -> list[User]:
    return list(User.objects.filter(email__iexact=address).select_for_update().order_by("pk"))


def _account_to_link(accounts: list[User], *, provider: str) -> User:
    """Return the one active account with this address. The caller has locked the accounts.

    An account that is linked already stays with the identity it has: an address may pass to another person at the
    provider, an ID does not. Administrators link their accounts themselves (`oidc.connect`), so that
    control over addresses at the provider makes no one an administrator here.
    """
    active = [user for user in accounts if user.is_active]
    if len(active) != 1:
        raise IdentityRefused("several_accounts" if active else "inactive")
    (user,) = active
    if user.is_superuser or user.is_staff or role_of(user) == Role.ADMINISTRATOR:
        raise IdentityRefused("administrator")
    if SocialAccount.objects.filter(user=user, provider=provider).exists():
        raise IdentityRefused("linked_already")
    return user


def _create_account(claims: Claims, address: str) -> User:
    if not claims.policy.create_accounts:
        raise IdentityRefused("no_account")
    if not claims.is_in_domains(address):
        raise IdentityRefused("domain")
    user = _save_with_free_name(
        User(email=address, first_name=claims.text("given_name"), last_name=claims.text("family_name")),
        name=claims.text("preferred_username").partition("@")[0] or address.partition("@")[0],
    )
    Event.objects.record(Action.ACCOUNT, name=user.get_username(), change="created", how="single_sign_on")
    logger.info("account_created user=%s how=single_sign_on", user.pk)
    if claims.policy.default_role:
        set_role(user, Role(claims.policy.default_role), by=None)
    return user


def _save_with_free_name(user: User, *, name: str) -> User:
    user.set_unusable_password()
    for username in _usernames(name):
        if User.objects.filter(username__iexact=username).exists():
            continue
        user.username = username
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError:  # made in the admin just now
            continue
        return user
    raise AssertionError("There is always another number.")


def _usernames(name: str) -> Iterator[str]:
    """Yield user names to try: of ASCII letters, so that no name looks like that of another person."""
    base = NOT_IN_USERNAMES.sub("", name.lower()).strip("._-")[: MAX_USERNAME_CHARACTERS - 10] or "user"
    yield base
    yield from (f"{base}-{number}" for number in count(2))


# --- roles and teams ----------------------------------------------------------------------------


def apply_groups(user: User, account: SocialAccount, claims: Claims) -> None:
    """Give the user the role and teams that the provider's groups map to, and take away those that it gave before.

    What was given here by hand stays, unless a group maps to it. Superusers keep their role. If the provider sent no
    usable groups, nothing changes.
    """
    policy = claims.policy
    if not policy.role_map and not policy.team_map:
        return
    try:
        groups = claims.groups()
    except GroupsUnavailable as error:
        logger.warning("single_sign_on_groups_unavailable user=%s reason=%s", user.pk, error.reason)
        return
    granted = account.extra_data.get("granted", {})
    role = _apply_role(user, groups, claims, before=granted.get("role"))
    teams = _apply_teams(user, groups, policy.team_map or {}, before=granted.get("teams", []))
    account.extra_data = {**account.extra_data, "granted": {"role": role, "teams": teams}}
    account.save(update_fields=["extra_data"])


def _apply_role(user: User, groups: set[str], claims: Claims, *, before: str | None) -> str | None:
    """Return the role that the provider gave."""
    mapped = {role for group, role in (claims.policy.role_map or {}).items() if group in groups}
    role = next((role for role in reversed(Role) if role.value in mapped), None)
    if user.is_superuser:
        return None
    if role is None and before is not None and role_of(user) == before:
        fallback = claims.policy.default_role if claims.policy.create_accounts else ""
        _set_role(user, Role(fallback) if fallback else None)
    elif role is not None:
        _set_role(user, role)
    return role.value if role else None


def _set_role(user: User, role: Role | None) -> None:
    try:
        set_role(user, role, by=None)
    except InvalidTransition as error:  # the last administrator, or the role's group is missing
        logger.warning("single_sign_on_role_unchanged user=%s error=%s", user.pk, type(error).__name__)


def _apply_teams(user: User, groups: set[str], team_map: Any, *, before: list[str]) -> list[str]:
    """Return the names of the teams that the provider gave. Roles are no teams, whatever the groups are called."""
    if team_map == ALL_TEAMS:
        names = groups.intersection(Group.objects.values_list("name", flat=True))
    else:
        names = {team for group, team in team_map.items() if group in groups}
    names -= set(ROLES_BY_GROUP)
    mapped = [Group.objects.get_or_create(name=name)[0] for name in sorted(names)]
    kept = [team for team in teams_of(user) if team.name not in before]
    set_teams(user, [*kept, *mapped], by=None)
    return sorted(names)
