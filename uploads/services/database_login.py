"""The database role of web processes, workers and sweeps: it can use the tables, but not alter them."""

from __future__ import annotations

import logging
import re

from django.db import connection, transaction
from psycopg import sql

from uploads.errors import ValidationFailed
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
