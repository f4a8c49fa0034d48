"""Create a database login with limited permissions for the web server, workers and sweeps."""

from __future__ import annotations

import logging
import re
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection, transaction
from psycopg import sql

from uploads.errors import ValidationFailed
from uploads.management.base import AmalgaCommand, report_errors
from uploads.models import Event

logger = logging.getLogger(__name__)

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
IAM_GROUP = "rds_iam"  # RDS user guide: members of this role sign in with an IAM token only
GRANTS = (
    "GRANT USAGE ON SCHEMA public TO {login}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {login}",
    "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {login}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {login}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO {login}",
    "REVOKE UPDATE, DELETE ON {events} FROM {login}",
)


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
        with report_errors(
            "Nothing was changed. Run this command as the owner of the tables, with the right to create roles."
        ):
            was_created = ensure_login(name)
        self.write_values({"login": name, "created": was_created})


def ensure_login(name: str) -> bool:
    """Create the role if it is missing, grant its privileges, and return whether it was created.

    At RDS it signs in with IAM tokens only; elsewhere an operator sets its password. Only the owner of the tables can
    do this. Safe to repeat. Raises ValidationFailed for an invalid name, and for the role of this connection.
    """
    if not NAME.fullmatch(name):
        raise ValidationFailed(f"The name must consist of lowercase letters, digits and _, not “{name[:63]}”.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_user, ARRAY(SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s))",
                       [name, IAM_GROUP])  # fmt: skip
        current_user, existing = cursor.fetchone()
        if name == current_user:
            raise ValidationFailed(
                f"“{name}” owns the tables, so its permissions cannot be limited. Choose another name."
            )
        names = {"login": sql.Identifier(name), "events": sql.Identifier(Event._meta.db_table)}
        statements = [] if name in existing else ["CREATE ROLE {login} LOGIN"]
        statements += [f"GRANT {IAM_GROUP} TO {{login}}"] if IAM_GROUP in existing else []
        for statement in [*statements, *GRANTS]:
            cursor.execute(sql.SQL(statement).format(**names))
    logger.info("database_login_granted name=%s created=%s", name, name not in existing)
    return name not in existing
