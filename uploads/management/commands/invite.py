"""Invite a person: print a link that creates one account."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.management.base import CommandParser
from django.core.validators import validate_email

from uploads.accounts import invitations
from uploads.accounts.roles import Role, teams
from uploads.management.arguments import find_user
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.models.links import absolute_url
from uploads.services import mail


class Command(AmalgaCommand):
    help = "Invite a person by a link that creates one account."
    epilog = """
    Prints the link as the last line; it cannot be printed again. With a mail server, the link is
    also mailed. It can be used once, and revoked on the page of invitations. It ends when the
    account of the inviter is deactivated.

    Changes:        adds one invitation, and one entry to the audit log. Revokes an earlier
                    invitation for the same address.
    Never changes:  existing accounts.

    Exit codes:
      0  invited
      1  the database is unavailable
      2  refused: invalid address, unknown team, an account has this address, or the inviter does
         not have permission to invite people

    Example:
      manage.py invite ann@example.org --role uploader --group press
    """

    json_keys = {
        "address": "email address of the person, or empty",
        "role": "role of the account",
        "teams": "list of teams of the account",
        "invited_by": "username of the inviter",
        "expires": "when the link expires",
        "mailed": "whether the link was mailed",
        "link": "the link",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        invitation = parser.add_argument_group("invitation")
        invitation.add_argument("email", metavar="ADDRESS", help="email address of the person; - for none")
        invitation.add_argument(
            "--role", choices=Role.values, default=Role.UPLOADER.value, metavar="ROLE",
            help=f"{', '.join(Role.values[:-1])} or {Role.values[-1]} (default: {Role.UPLOADER.value})",
        )  # fmt: skip
        invitation.add_argument(
            "--group", action="append", default=[], metavar="NAME", help="team of the account; can be repeated"
        )
        invitation.add_argument("--by", metavar="USERNAME", help="inviter (default: the first active superuser)")

    def handle(self, *, email: str, role: str, group: list[str], by: str | None, **_: Any) -> None:
        email = "" if email == "-" else email
        self._validate(email)
        inviter = _inviter(by)
        with report_errors("Run this command again later."):
            invitation, token = invitations.invite(by=inviter, role=Role(role), email=email, teams=_teams(group))
            invitation.refresh_from_db(fields=["expires_at"])  # by the clock of the database
        link = absolute_url(invitations.invitation_path(token))
        values = {
            "address": email, "role": role, "teams": group, "invited_by": inviter.get_username(),
            "expires": invitation.expires_at, "mailed": bool(email) and mail.is_configured(),
        }  # fmt: skip
        self.write_link(values, link)

    def _validate(self, email: str) -> None:
        if not email:
            return
        try:
            validate_email(email)
        except ValidationError:
            raise CommandRefused(f"ADDRESS must be an email address, not “{email}”.") from None
        if account := invitations.account_with(email):
            raise CommandRefused(f"The user “{account.get_username()}” already has this address.")


def _inviter(username: str | None) -> User:
    user = find_user(username) if username else User.objects.filter(is_superuser=True, is_active=True).first()
    if user is None:
        raise CommandRefused("No active superuser. Run `manage.py create_admin`, or give --by.")
    if not user.is_active or not user.has_perm(invitations.PERMISSION):
        raise CommandRefused(f"“{user.get_username()}” does not have permission to invite people.")
    return user


def _teams(names: list[str]) -> list[Group]:
    by_name = {team.name: team for team in teams().filter(name__in=[name for name in names if name.isprintable()])}
    if missing := [name for name in names if name not in by_name]:
        raise CommandRefused(f"No team named “{missing[0]}”.")
    return [by_name[name] for name in names]
