"""`manage.py share` and `manage.py revoke`."""

from __future__ import annotations

import io
import json
import uuid
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.test import Client
from pytest_django import Settings

from tests.links.conftest import Shared
from tests.support.commands import check_output
from uploads.models import (
    Action,
    Event,
    File,
    FileRequest,
    Folder,
    Invitation,
    LinkState,
    PasswordReset,
    PublicLink,
    ShareLink,
    create_link,
)
from uploads.models.links import new_token
from uploads.models.querysets import database_now, seconds_from_now
from uploads.services import folders

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site_url(settings: Settings) -> None:
    settings.SITE_URL = "https://files.example.org"


def refusal(*arguments: Any) -> str:
    with pytest.raises(CommandError) as refused:
        check_output(*arguments)
    assert refused.value.returncode == 2
    return str(refused.value)


def path_of(output: str) -> str:
    last = output.splitlines()[-1]
    assert last.startswith("https://files.example.org/s/")
    return last.removeprefix("https://files.example.org")


def test_link_to_a_file_is_the_last_line(file: File, guest: Client) -> None:
    output = check_output("share", file.permanent_id, "--expires", "12h", "--max-downloads", "2")
    assert "press kit.pdf" in output
    assert guest.get(path_of(output)).status_code == 200
    link = ShareLink.objects.get()
    assert link.expires_at
    assert (link.created_by.username, link.max_downloads) == ("alice", 2)
    assert 11 < (link.expires_at - database_now()).total_seconds() / 3600 <= 12


def test_link_creator_is_the_folder_creator_or_the_by_option(alice: User, bob: User, guest: Client) -> None:
    folder = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(folder, Folder)
    assert guest.get(path_of(check_output("share", folder.pk))).status_code == 200
    check_output("share", folder.pk, "--by", "bob")
    assert list(ShareLink.objects.order_by("id").values_list("created_by__username", flat=True)) == ["alice", "bob"]


def test_password_comes_from_standard_input(
    file: File, guest: Client, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    path = path_of(check_output("share", file.permanent_id, "--password-stdin"))
    assert guest.post(f"{path}password", {"password": "a long password"}).status_code == 302
    for typed, expected in [("", "no password"), ("short\n", "Password")]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert expected in refusal("share", file.permanent_id, "--password-stdin")


def test_share_prints_json(file: File) -> None:
    payload = json.loads(check_output("share", file.permanent_id, "--json"))
    assert set(payload) == {"id", "name", "owner", "expires", "link"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "neither the id of a file nor that of a folder"),
        (["9" * 17], "No folder"),
        ([str(uuid.UUID(int=1))], "No file"),
        (["FILE", "--by", "nobody"], "No user"),
        (["FILE", "--by", "viewer"], "permission"),
        (["FILE", "--expires", "7"], "must be a number of hours"),
        (["FILE", "--expires", "0d"], "must be a number of hours"),
        (["FILE", "--expires", "53w"], "at most 365 days"),
        (["FILE", "--max-downloads", "0"], "Maximum number of downloads"),
        (["FILE", "--max-downloads", "1", "--view-only"], "no downloads to limit"),
    ],
)
def test_share_rejects_invalid_arguments(arguments: list[str], expected: str, file: File, viewer: User) -> None:
    assert expected in refusal("share", *(str(file.permanent_id) if word == "FILE" else word for word in arguments))
    assert not ShareLink.objects.exists()


def test_share_rejects_a_file_that_the_user_cannot_see(file: File, bob: User) -> None:
    File.objects.filter(pk=file.pk).update(visibility="private")
    assert "cannot see" in refusal("share", file.permanent_id, "--by", "bob")


@pytest.mark.parametrize("form", ["https://files.example.org{}", "{}", "{}download", "TOKEN"])
def test_revoked_link_stops_working(form: str, file: File, shared: Shared, guest: Client) -> None:
    link, path = shared(file)
    argument = path.split("/")[2] if form == "TOKEN" else form.format(path)
    assert check_output("revoke", argument) == f"Revoked share link {link.pk}.\n"
    assert guest.get(path).status_code == 410
    assert check_output("revoke", argument) == f"The share link {link.pk} was revoked before.\n"
    event = Event.objects.get(action=Action.SHARE_REVOKED)
    assert (event.actor, event.actor_id, event.file_id) == ("", None, file.permanent_id)


@pytest.mark.parametrize("link", ["x", "", "https://files.example.org/s/", f"/s/{'a' * 32}/", "//[", "é" * 32])
def test_revoke_rejects_an_unknown_link(link: str, db: None) -> None:
    assert "No such link" in refusal("revoke", link)


def test_every_kind_of_public_link_is_revoked(alice: User, admin_user: User) -> None:
    folder = folders.ensure(["Inbox"], by=alice)["Inbox"]
    assert isinstance(folder, Folder)
    facts: dict[type[PublicLink], dict[str, Any]] = {
        ShareLink: {"name": "a.txt"},
        FileRequest: {"folder": folder, "title": "Photos", "max_files": 1, "max_file_bytes": 1, "max_bytes": 1},
        Invitation: {"role": "viewer"},
        PasswordReset: {"user": alice},
    }
    kinds = {model for model in apps.get_models() if issubclass(model, PublicLink)}
    assert kinds == set(facts)
    for model, fields in facts.items():
        link, token = create_link(model, created_by=admin_user, expires_at=seconds_from_now(3600), **fields)
        assert check_output("revoke", token) == f"Revoked {model._meta.verbose_name} {link.pk}.\n"
        link = model.objects.get(pk=link.pk)
        assert link.state == LinkState.REVOKED


def test_tokens_do_not_start_with_a_hyphen(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = iter(["-" + "a" * 23, "--" + "b" * 22, "c" * 24])
    monkeypatch.setattr("uploads.models.links.secrets.token_urlsafe", lambda _size: next(texts))
    assert new_token().startswith("c" * 24)
