"""pgbouncer in transaction mode: pages, commands, and connection options that it cannot pass on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection

from tests.conftest import PROJECT, serving
from tests.support import factories
from tests.support.connections import close_other_connections
from tests.support.databases import execute
from tests.support.form_client import Chosen, Visitor
from tests.support.pgbouncer import Bouncer
from tests.support.stores import Bucket
from uploads.models import File, State
from uploads.services.doctor.database import connection_error

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

# One process for all commands, because each process takes seconds to start.
COMMANDS = """
import io, json, sys, django
django.setup()
from django.core.management import CommandError, call_command
said = {}
for line in json.loads(sys.argv[1]):
    out = io.StringIO()
    try:
        call_command(*line, stdout=out)
        code = 0
    except CommandError as error:
        code = error.returncode
    said[" ".join(line)] = [code, out.getvalue()]
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def bouncer(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bouncer]:
    bouncer = Bouncer(tmp_path_factory.mktemp("pgbouncer") / "it")
    yield bouncer
    bouncer.stop()


@pytest.fixture
def limits(db: None) -> Iterator[None]:
    """Run the SQL from docs/operate/database.md."""
    match = re.search(r"```sql\n(.*?)```", (PROJECT / "docs" / "operate" / "database.md").read_text(), re.DOTALL)
    assert match
    execute(match[1])
    close_other_connections()
    yield
    execute("ALTER ROLE CURRENT_USER RESET ALL")
    close_other_connections()


def environment(bouncer: Bouncer, pooler: str = "on") -> dict[str, str]:
    ours = {"DATABASE_URL": bouncer.url, "DATABASE_POOLER": pooler, "DJANGO_SETTINGS_MODULE": "amalga.settings"}
    return {**os.environ, **ours}


def run_commands(bouncer: Bouncer, *commands: list[str], pooler: str = "on") -> dict[str, tuple[int, str]]:
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        env=environment(bouncer, pooler),
        cwd=PROJECT, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: dict[str, tuple[int, str]] = json.loads(done.stdout)
    return results


def limits_in_force(bouncer: Bouncer) -> set[str]:
    """Return the statement timeouts of two server connections that are open at the same time."""
    with psycopg.connect(bouncer.url) as first, psycopg.connect(bouncer.url) as other:
        query = "SELECT pg_backend_pid(), current_setting('statement_timeout')"
        rows = [it.execute(query).fetchone() for it in (first, other)]
    assert len({row[0] for row in rows if row}) == 2
    return {row[1] for row in rows if row}


def test_site_works_with_pgbouncer(bouncer: Bouncer, limits: None, alice: User, bucket: Bucket, tmp_path: Path) -> None:
    variables = {"DATABASE_POOLER": "on", "WEB_CONCURRENCY": "1"}
    with serving(tmp_path, variables, database_port=bouncer.port) as url:
        visitor = Visitor(url, alice).open_form()
        assert visitor.post(*(Chosen(f"report {n}.txt") for n in range(3)))[0].status == 200
        file = File.objects.get(name="report 1.txt")
        for path in ("/", "/?q=report", f"/files/{file.pk}/", "/trash/", "/tags/", "/unfinished/"):
            assert visitor.request("GET", path)[0].status == 200
        assert visitor.request("GET", f"/files/{file.pk}/download")[0].status == 302
        form = {"X-CSRFToken": visitor.token, "Content-Type": "application/x-www-form-urlencoded"}
        assert visitor.request("POST", f"/files/{file.pk}/trash", urlencode({}).encode(), headers=form)[0].status == 302
    file.refresh_from_db()
    assert file.state == State.TRASHED


def test_commands_work_through_pgbouncer_and_keep_the_timeouts(
    bouncer: Bouncer, limits: None, alice: User, bucket: Bucket
) -> None:
    for n in range(3):
        factories.create_file(alice, name=f"report {n}.txt", bucket=bucket)
    bucket.write("old/letter.txt", b"hello")
    results = run_commands(
        bouncer, ["migrate"], ["check", "--database", "default"], ["sweep"], ["fsck"], ["verify"], ["recount"],
        ["export_manifest"], ["previews"], ["import_bucket", "old/", "--owner", "alice"], ["clearsessions"], ["doctor"],
    )  # fmt: skip
    assert {line: code for line, (code, _output) in results.items() if code > 1} == {}
    assert "OK    database timeouts: statement_timeout 8s, lock_timeout 4s" in results["doctor"][1]
    assert "OK    database connections: a pooler is configured" in results["doctor"][1]
    assert "3" in results["fsck"][1]
    assert limits_in_force(bouncer) == {"8s"}


def test_statement_timeout_is_lifted_in_each_transaction(bouncer: Bouncer, limits: None) -> None:
    """For example, for a migration over millions of rows."""
    script = """
import django
django.setup()
from django.db import connection, transaction
from amalga.db import without_statement_timeout
def limit():
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return cursor.fetchone()[0]
with without_statement_timeout():
    for _ in range(3):
        with transaction.atomic():
            with transaction.atomic():
                assert limit() == "0"
            assert limit() == "0"
    assert limit() == "8s"
assert limit() == "8s"
"""
    env = {
        **os.environ,
        "DATABASE_URL": bouncer.url,
        "DATABASE_POOLER": "on",
        "DJANGO_SETTINGS_MODULE": "amalga.settings",
    }
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert limits_in_force(bouncer) == {"8s"}


def test_doctor_reports_missing_timeouts(bouncer: Bouncer, bucket: Bucket) -> None:
    output = run_commands(bouncer, ["doctor"])["doctor"][1]
    assert "FAIL  database timeouts: not set: statement_timeout, lock_timeout" in output
    assert "ALTER ROLE amalga SET statement_timeout" in output


def test_doctor_recommends_database_pooler_on_error(bouncer: Bouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", bouncer.port)
    line = connection_error()
    assert line
    assert "a pooler rejects connection options. Fix: set DATABASE_POOLER=on" in str(line)
