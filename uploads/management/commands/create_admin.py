"""Create an administrator."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandParser
from django.db import IntegrityError

from uploads.management.base import AmalgaCommand, CommandRefused
from uploads.models import Action, Event


class Command(AmalgaCommand):
    help = "Create an administrator."
    epilog = """
    Asks for the password twice, or reads it from standard input. There is no default password.
    The administrator adds other people on the site, under /admin/.

    Changes:        adds one account, and one entry to the audit log.
    Never changes:  existing accounts.

    Exit codes:
      0  created
      2  refused: the username exists, or the password is too weak

    Example:
      manage.py create_admin ann --email ann@example.org
    """

    def add_arguments(self, parser: CommandParser) -> None:
        account = parser.add_argument_group("account")
        account.add_argument("username", metavar="USERNAME", help="name to sign in with")
        account.add_argument("--email", default="", metavar="ADDRESS", help="address for mail to this person")

    def handle(self, *, username: str, email: str, **_: Any) -> None:
        user = User(username=User.normalize_username(username), email=email, is_staff=True, is_superuser=True)
        self._check(user, password=None)
        password = self._password()
        self._check(user, password=password)
        user.set_password(password)
        try:
            user.save()
        except IntegrityError:
            raise CommandRefused(f"The user “{username}” already exists.") from None
        Event.objects.record(Action.ACCOUNT, name=user.get_username(), change="created", administrator=True)
        self.stdout.write(f"Created administrator “{username}”.")

    def _check(self, user: User, *, password: str | None) -> None:
        try:
            if password is None:
                user.full_clean(exclude=["password"])
            else:
                validate_password(password, user)
        except ValidationError as error:
            raise CommandRefused(" ".join(error.messages)) from error

    def _password(self) -> str:
        if not sys.stdin.isatty():
            return sys.stdin.readline().rstrip("\r\n")
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Password (again): "):
            raise CommandRefused("The two passwords differ. Run this command again.")
        return password
