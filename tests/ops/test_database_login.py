"""`database_login`: a login that reads and writes rows but cannot change tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError
from django.db import connection, transaction
from django.db.utils import ProgrammingError

from tests.support.commands import check_output
from tests.support.file_rows import create_row
from uploads.models import Action, Event, File, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def login() -> str:
    return f"login_{uuid4().hex[:8]}"


def create_login(name: str) -> str:
    return check_output("database_login", name)


@contextmanager
def signed_in_as(name: str) -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'GRANT "{name}" TO CURRENT_USER WITH INHERIT FALSE, SET TRUE')
        cursor.execute(f'SET LOCAL ROLE "{name}"')
        yield
        cursor.execute("RESET ROLE")


def test_login_reads_and_writes_rows(login: str, alice: User) -> None:
    assert "created: yes" in create_login(login)
    with signed_in_as(login):
        file = create_row(alice, State.AVAILABLE)
        File.objects.filter(pk=file.pk).update(name="other.txt")
        Event.objects.record(Action.DOWNLOAD, by=alice, file=file)
        assert File.objects.get(pk=file.pk).name == "other.txt"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE uploads_event SET name = 'x'", "DELETE FROM uploads_event", "TRUNCATE uploads_file CASCADE",
     "ALTER TABLE uploads_file DISABLE TRIGGER ALL", "DROP TABLE uploads_event", "CREATE TABLE public.mine (id int)"],
)  # fmt: skip
def test_login_cannot_change_tables_or_the_audit_log(login: str, statement: str) -> None:
    create_login(login)
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), signed_in_as(login):
        connection.cursor().execute(statement)


def test_login_can_use_tables_created_later(login: str) -> None:
    create_login(login)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.later (id bigint GENERATED ALWAYS AS IDENTITY, name text)")
    with signed_in_as(login), connection.cursor() as cursor:
        cursor.execute("INSERT INTO public.later (name) VALUES ('x')")


def test_login_uses_iam_tokens_where_available(login: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE rds_iam")
        create_login(login)
        assert "created: no" in create_login(login)
        cursor.execute("SELECT pg_has_role(%s, 'rds_iam', 'member'), rolcanlogin FROM pg_roles WHERE rolname = %s",
                       [login, login])  # fmt: skip
        assert cursor.fetchone() == (True, True)


@pytest.mark.parametrize("name", ["", "Robert'; DROP", "a" * 64, "1a"])
def test_invalid_login_name_is_rejected(name: str) -> None:
    with pytest.raises(CommandError) as refused:
        create_login(name)
    assert refused.value.returncode == 2


def test_owner_of_the_tables_is_refused() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        (own,) = cursor.fetchone()
    with pytest.raises(CommandError) as refused:
        create_login(own)
    assert refused.value.returncode == 2
