"""What `migrate` says of a database that cannot do what it has to."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from uploads import checks

pytestmark = pytest.mark.django_db


def test_this_database_knows_letters_of_all_scripts() -> None:
    assert checks.database_knows_letters(databases=["default"]) == []


def test_one_that_knows_only_a_to_z_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "KNOWS_LETTERS", "SELECT false")
    (told,) = checks.database_knows_letters(databases=["default"])
    assert told.id == "uploads.W003"
    assert "C.UTF-8" in str(told.hint)


def test_before_the_first_migration_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "KNOWS_LETTERS", "SELECT not_there('x')")
    assert checks.database_knows_letters(databases=["default"]) == []


def test_the_checks_without_a_database_ask_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "KNOWS_LETTERS", "SELECT 1 / 0")
    call_command("check")
