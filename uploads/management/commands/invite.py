"""Invite a person: print a link that creates one account."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import validate_email

from uploads.accounts import invitations
from uploads.accounts.roles import Role, teams
from uploads.management.base import AmalgaCommand, find_user, translate_errors
from uploads.services import mail
from uploads.site_url import absolute_url

REFUSED = 2


class Command(AmalgaCommand):
    help = "Invite a person by a link that creates one account."
    epilog = """
    Prints the link as the last line; it cannot be printed again. With a mail server, it is also mailed.
    Without --by, the invitation is made in the name of the first active superuser. It ends when that account is
    deactivated.

    Changes:        adds one invitation, and one entry to the audit log. Revokes an earlier one for the same address.
    Never changes:  existing accounts.

    Exit codes:
      0  invited
      2  refused: invalid address, unknown team, an account has this address, or --by may not invite

    Example:
      manage.py invite ann@example.org --role uploader --group press
    """

    def add_arguments(self, parser: CommandParser) -> None:
        invitation = parser.add_argument_group("invitation")
        invitation.add_argument("email", metavar="ADDRESS", help="email address of the person, or - for none")
        invitation.add_argument(
            "--role", choices=Role.values, default=Role.UPLOADER.value, help="role of the account (%(default)s)"
        )
        invitation.add_argument(
            "--group", action="append", default=[], metavar="NAME", help="team of the account; can be repeated"
        )
        invitation.add_argument("--by", metavar="USERNAME", help="who invites (the first active superuser)")

    def handle(self, *, email: str, role: str, group: list[str], by: str | None, **_: Any) -> None:
        email = "" if email == "-" else email
        self._validate(email)
        inviter = _inviter(by)
        with translate_errors("Run this command again."):
            _invitation, token = invitations.invite(by=inviter, role=Role(role), email=email, teams=_teams(group))
        if email:
            sent = f"Invitation for {email}" + (", sent by mail." if mail.is_configured() else ". Send them this link.")
            self.stdout.write(sent)
        self.stdout.write(f"Valid once, for {settings.INVITATION_DAYS} days. Revoke it on the page of invitations.")
        self.stdout.write(absolute_url(invitations.invitation_path(token)))

    def _validate(self, email: str) -> None:
        if not email:
            return
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError("The email address is invalid.", returncode=REFUSED) from None
        if account := invitations.account_with(email):
            raise CommandError(f"The user “{account.get_username()}” has this address.", returncode=REFUSED)


def _inviter(username: str | None) -> User:
    user = find_user(username) if username else User.objects.filter(is_superuser=True, is_active=True).first()
    if user is None:
        raise CommandError("There is no active superuser. Create one with create_admin.", returncode=REFUSED)
    if not user.is_active or not user.has_perm(invitations.PERMISSION):
        raise CommandError(f"The user “{user.get_username()}” may not invite people.", returncode=REFUSED)
    return user


def _teams(names: list[str]) -> list[Group]:
    by_name = {team.name: team for team in teams().filter(name__in=[name for name in names if name.isprintable()])}
    if missing := [name for name in names if name not in by_name]:
        raise CommandError(f"There is no team “{missing[0]}”.", returncode=REFUSED)
    return [by_name[name] for name in names]
