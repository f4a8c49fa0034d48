"""Create a database login with limited permissions for the web server, workers and sweeps."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from uploads.management.base import AmalgaCommand, translate_errors
from uploads.services.database_login import ensure_login


class Command(AmalgaCommand):
    help = "Create a database login with limited permissions."
    epilog = """
    The login can read and write rows. It cannot change tables, and cannot change or delete
    entries of the audit log. On RDS it signs in with IAM tokens (DATABASE_IAM=on); elsewhere
    set its password yourself: ALTER ROLE amalga_app PASSWORD '…'.
    Run this as the owner of the tables, after `migrate`. Safe to repeat.

    Changes:        the login and its permissions.
    Never changes:  rows, and other logins.

    Exit codes:
      0  the login exists and has its permissions
      1  the database is unavailable, or denied access
      2  refused: the name is invalid

    Example:
      manage.py database_login amalga_app
    """
    json_keys = {"login": "name of the login", "created": "whether it is new"}

    def add_arguments(self, parser: CommandParser) -> None:
        login = parser.add_argument_group("login")
        login.add_argument("name", metavar="NAME", help="name of the login")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        with translate_errors(
            "Nothing was changed. Run this command as the owner of the tables, with the right to create roles."
        ):
            was_created = ensure_login(name)
        self.write_values({"login": name, "created": was_created})
