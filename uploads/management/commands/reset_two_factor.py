"""Turn off two-factor authentication for an account, for example of an administrator who has lost phone and codes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from uploads.management.arguments import find_user
from uploads.management.base import AmalgaCommand
from uploads.services import sign_in_events


class Command(AmalgaCommand):
    help = "Turn off two-factor authentication for an account."
    epilog = """
    For people who have lost their phone and their recovery codes. They sign in with their
    password, and set up two-factor authentication again.

    Changes:        deletes the authenticator app and the recovery codes of the account, and
                    signs it out everywhere.
    Never changes:  the password, permissions and files.

    Exit codes:
      0  done, or two-factor authentication was already off
      2  no such user

    Example:
      manage.py reset_two_factor ann
    """
    json_keys = {"username": "the account", "removed": "number of authenticators that were deleted"}

    def add_arguments(self, parser: CommandParser) -> None:
        account = parser.add_argument_group("account")
        account.add_argument("username", metavar="USERNAME", help="account to reset")

    def handle(self, *, username: str, **_: Any) -> None:
        removed = sign_in_events.forget_factors(find_user(username), by=None)
        self.write_values({"username": username, "removed": removed})
