"""Print the cases of one library as JSON: `python -m bench.library_queries`, for the database in DATABASE_URL.

With the session cookie of each user, the number of queries of each case, and the plan of its slowest query.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
import psycopg

from bench.library_cases import USERS, Case, Sample, all_cases

PLAN_TIMEOUT = "30s"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    from django.core.management import call_command

    call_command("collectstatic", verbosity=0, interactive=False)
    clients = {user: _client(username) for user, username in USERS.items()}
    cases = [_describe(case, clients[case.user]) for case in all_cases(Sample())]
    cookies = {user: _cookie(client) for user, client in clients.items()}
    json.dump({"cookies": cookies, "cases": cases}, sys.stdout)


def _client(username: str) -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    client.force_login(User.objects.get(username=username))
    return client


def _cookie(client: Any) -> str:
    from django.conf import settings

    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def _describe(case: Case, client: Any) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.get(case.addresses[0])  # fills the caches
    with CaptureQueriesContext(connection) as captured:
        client.get(case.addresses[0])
    selects = [query for query in captured.captured_queries if query["sql"].lstrip().startswith(("SELECT", "WITH"))]
    queries = [
        query for query in selects if "django_session" not in query["sql"]
    ]  # its key would end up in the results
    slowest = max(queries, key=lambda query: float(query["time"]))
    summary = {"name": case.name, "kind": case.kind, "user": case.user, "addresses": list(case.addresses)}
    return {**summary, "queries": len(captured), "sql": slowest["sql"], "plan": _plan(slowest["sql"])}


def _plan(statement: str) -> list[str]:
    """Return the plan with its times, or without them if the query takes longer than PLAN_TIMEOUT. The connection has
    the settings of the site, except for this longer timeout."""
    from django.conf import settings

    options = settings.DATABASES["default"]["OPTIONS"]["options"]
    with psycopg.connect(os.environ["DATABASE_URL"], options=options, autocommit=True) as connection:
        connection.execute(f"SET statement_timeout = '{PLAN_TIMEOUT}'")
        try:
            rows = connection.execute("EXPLAIN (ANALYZE, BUFFERS) " + statement)
        except psycopg.errors.QueryCanceled:
            rows = connection.execute("EXPLAIN " + statement)
        return [line for (line,) in rows]


if __name__ == "__main__":
    main()
