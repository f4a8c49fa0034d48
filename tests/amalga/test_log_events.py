"""Log events: one line for each action, without credentials or file names."""

from __future__ import annotations

import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings as live
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from tests.support import factories, form_client
from tests.support.form_client import Chosen, Visitor
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import s3
from uploads.models import File, State

pytestmark = pytest.mark.django_db

PASSWORD = "correct-horse-of-its-own"
FILE_NAME = "Contract-with-Nobody-4711"
ALWAYS_SECRET = ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "Signature=", PASSWORD, FILE_NAME]


class Everything(logging.Handler):
    """Collects the records of the configured loggers as the console handler would write them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("{levelname} {name} {message}", style="{"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def log() -> Iterator[Everything]:
    handler = Everything()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def erin(roles: None) -> User:
    user = factories.create_user("erin", "uploaders")
    user.set_password(PASSWORD)
    user.save()
    return user


def secrets(client: Client) -> list[str]:
    """Return everything that must not be in a log, including the session and token of this client."""
    cookies = [morsel.value for morsel in client.cookies.values()]
    database = connection.settings_dict
    ours = [str(database["PASSWORD"]), os.environ["AWS_SECRET_ACCESS_KEY"], live.SECRET_KEY]
    return [*ALWAYS_SECRET, *filter(None, cookies), *ours]


def secrets_in(text: str, client: Client) -> list[str]:
    return [secret for secret in secrets(client) if secret in text]


def signed_in_by_form(client: Client, password: str = PASSWORD) -> Client:
    client.get("/accounts/login/")
    client.post("/accounts/login/", {"username": "erin", "password": password})
    return client


def use_every_page(client: Client) -> None:
    """Upload by API and by form, view, download, move to trash, restore, and cancel an upload."""
    upload_client = UploadClient(client)
    file = upload_client.send(b"hello", name=f"{FILE_NAME}.txt", folder=FILE_NAME)
    form_client.post(client, Chosen(f"{FILE_NAME}.pdf"))
    for url in ("/", file.get_absolute_url(), reverse("download", args=[file.pk]), "/unfinished/"):
        client.get(url)
    for route in ("trash_file", "restore_file"):
        client.post(reverse(route, args=[file.pk]))
    upload = upload_client.start(b"never sent", name=FILE_NAME)
    upload_client.retrieve(upload)
    upload_client.cancel(upload)


def test_ordinary_requests_log_no_secrets(erin: User, bucket: Bucket, log: Everything) -> None:
    client = signed_in_by_form(Client())
    use_every_page(client)
    assert secrets_in(log.text, client) == []


def test_each_action_logs_one_line_with_the_file_id(erin: User, bucket: Bucket, log: Everything) -> None:
    client = signed_in_by_form(Client())
    file = UploadClient(client).send(b"hello")
    client.post(reverse("trash_file", args=[file.pk]))
    acts = [line.split()[2] for line in log.lines if f"file={file.pk}" in line]
    assert acts == ["upload_started", "upload_available", "file_trashed"]
    assert all(re.search(r"\w+=\S+", line) for line in log.lines if "uploads" in line)


def test_failed_sign_in_logs_neither_name_nor_password(erin: User, log: Everything) -> None:
    client = signed_in_by_form(Client(), password=f"{PASSWORD}-wrong")
    client.post("/admin/login/", {"username": PASSWORD, "password": "x"})  # typed into the wrong field
    assert secrets_in(log.text, client) == []


def test_unavailable_storage_is_logged_without_urls(
    erin: User, settings: Settings, log: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exceptions of urllib3 and botocore contain the whole URL."""
    client = signed_in_by_form(Client())
    file = factories.create_file(erin, state=State.UPLOADING, name=FILE_NAME)
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    s3.reset()
    try:
        client.get(reverse("upload_detail", args=[file.pk]))
        form_client.post(client, Chosen(FILE_NAME))
        client.post(reverse("cancel_upload", args=[file.pk]))
    finally:
        s3.reset()
    assert "s3_error" in log.text
    assert secrets_in(log.text, client) == []


def test_error_is_logged_with_traceback_without_secrets(
    erin: User, log: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in_by_form(Client())
    client.raise_request_exception = False
    file = factories.create_file(erin, name=FILE_NAME)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("this is what broke")

    monkeypatch.setattr(s3, "download_url", broken)
    assert client.get(reverse("download", args=[file.pk]) + f"?token={PASSWORD}").status_code == 500
    assert "this is what broke" in log.text
    assert secrets_in(log.text, client) == []


def test_invalid_requests_cannot_forge_log_lines(erin: User, log: Everything) -> None:
    client = signed_in_by_form(Client())
    client.get("/nothing%0d%0aCRITICAL forged line")
    client.get("/", headers={"Host": "evil\r\nCRITICAL forged"})
    client.get("/uploads/x\nCRITICAL forged/")
    assert not any(line.startswith("CRITICAL") for line in log.text.splitlines())


@pytest.mark.django_db(transaction=True)
def test_running_server_logs_no_secrets(roles: None, bucket: Bucket, django_db_setup: None, tmp_path: Any) -> None:
    from tests.conftest import serving

    with serving(tmp_path, {}) as site:
        erin = factories.create_user("erin", "uploaders")
        visitor = Visitor(site, erin).open_form()
        visitor.post(Chosen(f"{FILE_NAME}.txt"))
        file = File.objects.get()
        visitor.request("GET", f"/files/{file.pk}/download?inline=1&word={PASSWORD}")
        visitor.request("POST", "/accounts/login/", f"username=x&password={PASSWORD}".encode())
        visitor.request("GET", f"/nothing?word={PASSWORD}")
    log = (tmp_path / "web.log").read_text()
    assert f"file={file.pk}" in log
    hidden = [*ALWAYS_SECRET, visitor.token, *visitor.cookies.values(), str(connection.settings_dict["PASSWORD"])]
    assert [secret for secret in hidden if secret in log] == []


@pytest.mark.django_db(transaction=True)
def test_form_with_too_many_fields_is_logged_without_traceback(django_db_setup: None, tmp_path: Any) -> None:
    from tests.conftest import serving

    fields = urlencode([("a", "b")] * (live.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)).encode()
    cookie = {"Cookie": f"{live.CSRF_COOKIE_NAME}={'c' * 32}"}  # without it, the form is refused before it is read
    with serving(tmp_path, {}) as site, pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{site}/accounts/login/", fields, cookie), timeout=30)
    refused.value.close()
    assert refused.value.code == 400
    lines = (tmp_path / "web.log").read_text().splitlines()
    assert any("WARNING" in line and "TooManyFieldsSent" in line for line in lines)
    assert not any("Traceback" in line or "ERROR" in line for line in lines)
