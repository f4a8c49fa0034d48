"""The command that creates the first administrator."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from uploads.models import Action, Event

pytestmark = pytest.mark.django_db

GOOD_PASSWORD = "a long word of its own"


@pytest.fixture
def type_input(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_fresh_installation_has_no_users(db: None) -> None:
    assert not User.objects.exists()


def test_command_creates_an_administrator(
    type_input: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    type_input(f"{GOOD_PASSWORD}\n")
    call_command("create_admin", "root", "--email", "root@example.org")
    root = User.objects.get()
    assert (root.username, root.email, root.is_staff, root.is_superuser) == ("root", "root@example.org", True, True)
    assert root.check_password(GOOD_PASSWORD)
    assert GOOD_PASSWORD not in capsys.readouterr().out
    event = Event.objects.get(action=Action.ACCOUNT)
    assert (event.name, event.detail) == ("root", {"change": "created", "administrator": True})


@pytest.mark.parametrize("password", ["", "short", "password1234", "123456789012345"])
def test_weak_password_is_refused(password: str, type_input: Callable[[str], None]) -> None:
    type_input(f"{password}\n")
    with pytest.raises(CommandError) as error:
        call_command("create_admin", "root")
    assert error.value.returncode == 2
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["", "with space", "a" * 200, "a\x00b"])
def test_invalid_name_is_refused(name: str, type_input: Callable[[str], None]) -> None:
    type_input(f"{GOOD_PASSWORD}\n")
    with pytest.raises(CommandError) as error:
        call_command("create_admin", name)
    assert error.value.returncode == 2


def test_existing_account_is_unchanged(alice: User, type_input: Callable[[str], None]) -> None:
    type_input(f"{GOOD_PASSWORD}\n")
    with pytest.raises(CommandError, match="already exists") as error:
        call_command("create_admin", "alice")
    assert error.value.returncode == 2
    alice.refresh_from_db()
    assert (alice.is_superuser, alice.check_password(GOOD_PASSWORD)) == (False, False)


def test_terminal_must_repeat_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = iter([GOOD_PASSWORD, GOOD_PASSWORD, GOOD_PASSWORD, "another one of these"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(inputs))
    call_command("create_admin", "root")
    with pytest.raises(CommandError, match="passwords differ"):
        call_command("create_admin", "second")
    assert User.objects.get().username == "root"
