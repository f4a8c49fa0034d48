"""Create a database login with limited permissions for the web server, workers and sweeps."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from uploads.management.base import AmalgaCommand, translate_errors
from uploads.services.database_login import ensure_login


class Command(AmalgaCommand):
    help = (
        "Makes a login for the database that may read and write rows, but can change no table and nothing that the "
        "activity log says, and gives it its rights anew when it is there. At RDS it signs in by IAM tokens "
        "(DATABASE_IAM=on); elsewhere give it a password yourself. Run it as the owner of the tables, after `migrate`. "
        "No row is touched, and no other login. Safe to repeat. Exit status: 0 done; 1 the database is away or "
        "refuses; 2 refused: that name cannot be used."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="of the login")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        with translate_errors("Nothing was changed. Run this again later."):
            was_created = ensure_login(name)
        self.stdout.write(f"{name} {'was made' if was_created else 'was there'}, and has its rights.")
