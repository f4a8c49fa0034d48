"""What one library is asked, as JSON: `python -m bench.library_look`, of the database in DATABASE_URL.

Sessions for those who ask, every case with the number of its queries, and of the slowest of them what Postgres did.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
import psycopg

from bench.library_cases import WHO, Case, Sample, all_cases

PLAN_TIMEOUT = "30s"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    from django.core.management import call_command

    call_command("collectstatic", verbosity=0, interactive=False)
    clients = {who: _client(username) for who, username in WHO.items()}
    cases = [_looked_at(case, clients[case.who]) for case in all_cases(Sample())]
    cookies = {who: _cookie(client) for who, client in clients.items()}
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


def _looked_at(case: Case, client: Any) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.get(case.addresses[0])  # what is cached once is cached now
    with CaptureQueriesContext(connection) as captured:
        client.get(case.addresses[0])
    rows = [query for query in captured.captured_queries if query["sql"].startswith("SELECT")]
    asked = [query for query in rows if "django_session" not in query["sql"]]  # its key would lie in the results
    slowest = max(asked, key=lambda query: float(query["time"]))
    told = {"name": case.name, "kind": case.kind, "who": case.who, "addresses": list(case.addresses)}
    return {**told, "queries": len(captured), "sql": slowest["sql"], "plan": _plan(slowest["sql"])}


def _plan(statement: str) -> list[str]:
    """What Postgres did, or meant to do where that takes too long. Asked with the settings of the site, but with
    more patience."""
    from django.conf import settings

    options = settings.DATABASES["default"]["OPTIONS"]["options"]
    with psycopg.connect(os.environ["DATABASE_URL"], options=options, autocommit=True) as connection:
        connection.execute(f"SET statement_timeout = '{PLAN_TIMEOUT}'")
        try:
            done = connection.execute("EXPLAIN (ANALYZE, BUFFERS) " + statement)
        except psycopg.errors.QueryCanceled:
            done = connection.execute("EXPLAIN " + statement)
        return [line for (line,) in done]


if __name__ == "__main__":
    main()
