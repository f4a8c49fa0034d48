"""Create an administrator."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError

from uploads.management.base import AmalgaCommand
from uploads.models import Action, Event

REFUSED = 2


class Command(AmalgaCommand):
    help = (
        "Makes an administrator, who then lets everybody else in under /admin/. The password is asked for twice, or "
        "read from standard input; there is no default. Accounts that are there are not touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the administrator types to sign in")
        parser.add_argument("--email", default="", help="by which single sign-on finds the account")

    def handle(self, *, name: str, email: str, **_: Any) -> None:
        user = User(username=User.normalize_username(name), email=email, is_staff=True, is_superuser=True)
        self._check(user, password=None)
        password = self._password()
        self._check(user, password=password)
        user.set_password(password)
        try:
            user.save()
        except IntegrityError:
            raise CommandError(f"{name} is there already.", returncode=REFUSED) from None
        Event.objects.record(Action.ACCOUNT, name=user.get_username(), change="created", administrator=True)
        self.stdout.write(f"{name} can sign in now, and sets up a second factor then where one is required.")

    def _check(self, user: User, *, password: str | None) -> None:
        try:
            if password is None:
                user.full_clean(exclude=["password"])
            else:
                validate_password(password, user)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages), returncode=REFUSED) from error

    def _password(self) -> str:
        if not sys.stdin.isatty():
            return sys.stdin.readline().rstrip("\r\n")
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Password (again): "):
            raise CommandError("These were two different passwords.", returncode=REFUSED)
        return password
