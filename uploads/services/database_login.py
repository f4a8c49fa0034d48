"""A login for the database that can use the tables and change none: what web, workers and sweeps sign in with."""

from __future__ import annotations

import logging
import re

from django.db import connection, transaction
from psycopg import sql

from uploads.errors import ValidationFailed
from uploads.models import Event

logger = logging.getLogger(__name__)

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
IAM_GROUP = "rds_iam"  # RDS user guide: whoever is in this group signs in by an IAM token, and by nothing else
GRANTS = (
    "GRANT USAGE ON SCHEMA public TO {login}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {login}",
    "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {login}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {login}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO {login}",
    "REVOKE UPDATE, DELETE ON {events} FROM {login}",
)


def ensure_login(name: str) -> bool:
    """Make the login where there is none, and give it its rights anew; True if it was made.

    At RDS it signs in by tokens alone; elsewhere somebody gives it a password. Only the owner of the tables may do
    this. Safe to repeat. Raises ValidationFailed for a name that is none, or our own.
    """
    if not NAME.fullmatch(name):
        raise ValidationFailed(f"{name[:63]!r} is no name of a login: it takes small letters, digits and _.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_user, ARRAY(SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s))",
                       [name, IAM_GROUP])  # fmt: skip
        own, there = cursor.fetchone()
        if name == own:
            raise ValidationFailed(
                f"{name} is whom this command signs in as: the owner of the tables keeps its own rights."
            )
        names = {"login": sql.Identifier(name), "events": sql.Identifier(Event._meta.db_table)}
        statements = [] if name in there else ["CREATE ROLE {login} LOGIN"]
        statements += [f"GRANT {IAM_GROUP} TO {{login}}"] if IAM_GROUP in there else []
        for statement in [*statements, *GRANTS]:
            cursor.execute(sql.SQL(statement).format(**names))
    logger.info("database_login name=%s made=%s", name, name not in there)
    return name not in there
