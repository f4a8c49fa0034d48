"""Invalid arguments and an unavailable database: one plain sentence and the right exit code."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, ProgrammingError

from amalga.settings import BASE_DIR
from tests.support import factories
from uploads.management.arguments import bytes_per_second
from uploads.management.base import report_errors
from uploads.management.commands import previews, recount
from uploads.services.doctor.database import _stores


@pytest.mark.parametrize("args", [["fsck", "--prefix"], ["import_bucket", "x", "--owner"]], ids=str)
def test_an_argument_that_is_not_utf_8_is_refused_in_one_sentence(args: list[str]) -> None:
    command: list[str | bytes] = [sys.executable, "manage.py", *args, b"\xff"]
    done = subprocess.run(command, cwd=BASE_DIR, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"Error: An argument is not UTF-8.\n"


def test_a_rate_is_bytes_a_second_in_powers_of_ten() -> None:
    assert [bytes_per_second(text) for text in ("7", "500k", "50M", "1G")] == [7, 500_000, 50_000_000, 10**9]
    for text in ("0", "1.5", "-1", "50MiB", "", "m"):
        with pytest.raises(argparse.ArgumentTypeError):
            bytes_per_second(text)


def test_doctor_fails_if_a_file_names_an_unconfigured_store(alice: User) -> None:
    assert [line.level for line in _stores()] == ["ok"]
    factories.create_file(alice, b"hello", store="gone")
    (line,) = _stores()
    assert (line.level, "“gone”" in line.reason) == ("fail", True)


def raise_operational_error(*_: Any, **__: Any) -> None:
    raise OperationalError("the connection is closed")


def test_recount_and_previews_report_unavailable_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recount, "recount", raise_operational_error)
    monkeypatch.setattr(previews, "enqueue_batches", raise_operational_error)
    for command in ("recount", "previews"):
        with pytest.raises(CommandError, match="The database is unavailable") as refusal:
            call_command(command)
        assert refusal.value.returncode == 1


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (psycopg.errors.InsufficientPrivilege(), "The database role does not have permission for this. Wait."),
        (
            psycopg.errors.UndefinedTable(),
            "The database rejected a query (UndefinedTable). Check that all migrations are applied. Wait.",
        ),
    ],
)
def test_rejected_query_is_not_reported_as_an_outage(cause: Exception, expected: str) -> None:
    error = ProgrammingError()
    error.__cause__ = cause
    with pytest.raises(CommandError) as refusal, report_errors("Wait."):
        raise error
    assert (str(refusal.value), refusal.value.returncode) == (expected, 1)
