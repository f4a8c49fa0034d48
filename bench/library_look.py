"""What one library is asked, as JSON: `python -m bench.library_look`, of the database in DATABASE_URL.

Sessions for those who ask, every case with the number of its queries, and of the slowest of them what Postgres did.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django

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
    asked = [query for query in captured.captured_queries if query["sql"].startswith("SELECT")]
    slowest = max(asked, key=lambda query: float(query["time"]))
    told = {"name": case.name, "kind": case.kind, "who": case.who, "addresses": list(case.addresses)}
    return {**told, "queries": len(captured), "sql": slowest["sql"], "plan": _plan(slowest["sql"])}


def _plan(statement: str) -> list[str]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = '{PLAN_TIMEOUT}'")
        # by itself `%` in the statement would be a parameter
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS) " + statement, None)
        lines = [line for (line,) in cursor.fetchall()]
        cursor.execute("RESET statement_timeout")
    return lines


if __name__ == "__main__":
    main()
