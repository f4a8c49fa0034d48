"""The first administrator, and that there is none by default."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from uploads.models import Action, Event

pytestmark = pytest.mark.django_db

GOOD = "a long word of its own"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_fresh_installation_has_nobody_in_it(db: None) -> None:
    assert not User.objects.exists()


def test_the_command_makes_an_administrator(
    typed: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    typed(f"{GOOD}\n")
    call_command("create_admin", "root", "--email", "root@example.org")
    root = User.objects.get()
    assert (root.username, root.email, root.is_staff, root.is_superuser) == ("root", "root@example.org", True, True)
    assert root.check_password(GOOD)
    assert GOOD not in capsys.readouterr().out
    told = Event.objects.get(action=Action.ACCOUNT)
    assert (told.name, told.detail) == ("root", {"change": "created", "administrator": True})


@pytest.mark.parametrize("password", ["", "short", "password1234", "123456789012345"])
def test_a_password_that_anybody_guesses_is_refused(password: str, typed: Callable[[str], None]) -> None:
    typed(f"{password}\n")
    with pytest.raises(CommandError) as refusal:
        call_command("create_admin", "root")
    assert refusal.value.returncode == 2
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["", "with space", "a" * 200, "a\x00b"])
def test_a_name_that_is_none_is_refused(name: str, typed: Callable[[str], None]) -> None:
    typed(f"{GOOD}\n")
    with pytest.raises(CommandError) as refusal:
        call_command("create_admin", name)
    assert refusal.value.returncode == 2


def test_an_account_that_is_there_stays_as_it_is(alice: User, typed: Callable[[str], None]) -> None:
    typed(f"{GOOD}\n")
    with pytest.raises(CommandError, match="already exists") as refusal:
        call_command("create_admin", "alice")
    assert refusal.value.returncode == 2
    alice.refresh_from_db()
    assert (alice.is_superuser, alice.check_password(GOOD)) == (False, False)


def test_on_a_terminal_it_asks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter([GOOD, GOOD, GOOD, "another one of these"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(typed))
    call_command("create_admin", "root")
    with pytest.raises(CommandError, match="two different passwords"):
        call_command("create_admin", "second")
    assert User.objects.get().username == "root"
