"""Checks of the settings (`check --deploy`) and of the database (`migrate`), neither of which uses the network."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any
from unittest import mock

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from tests.conftest import PROJECT
from tests.support.postgres_standby import as_superuser
from uploads import checks

pytestmark = pytest.mark.django_db

GOOD: dict[str, Any] = {
    "STAFF_SECOND_FACTOR": True,
    "S3_ORIGIN": "https://bucket.s3.eu-west-1.amazonaws.com",
    "S3_CHECKSUMS": "sha256",
    "HTTPS": True,
    "DEBUG": False,
    "SECRET_KEY": "a-secret-of-more-than-fifty-characters-that-nobody-guesses",
    "ALLOWED_HOSTS": ["files.example.org"],
    "CSRF_TRUSTED_ORIGINS": ["https://files.example.org"],
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SECURE_SSL_REDIRECT": True,
    "SECURE_HSTS_SECONDS": 31_536_000,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
    "SECURE_HSTS_PRELOAD": True,
}
DATABASE: dict[str, Any] = {
    "USER": "amalga", "PASSWORD": "0aBd-uncommon", "HOST": "db.example.org", "OPTIONS": {"sslmode": "verify-full"},
}  # fmt: skip


@pytest.fixture
def production(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Valid production settings; tests change the returned database settings before they call `messages`."""
    for name, value in GOOD.items():
        setattr(settings, name, value)
    database = {**DATABASE, "OPTIONS": dict(DATABASE["OPTIONS"])}
    monkeypatch.setattr(checks, "_database", lambda: database)
    return database


def messages() -> list[str]:
    """Return the ids of all messages, without the variable that browser tests set in this process."""
    with mock.patch.dict(os.environ):
        os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)
        return [str(message.id) for message in run_checks(include_deployment_checks=True)]


def test_good_settings_pass(production: dict[str, Any]) -> None:
    assert messages() == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("S3_ORIGIN", "http://s3.example.org", "uploads.W001"),
        ("STAFF_SECOND_FACTOR", False, "uploads.W013"),
        ("HTTPS", False, "uploads.W002"),
        ("FAILPOINT", "finish.claimed", "uploads.E001"),
        ("ALLOWED_HOSTS", ["*"], "uploads.W006"),
        ("CSRF_TRUSTED_ORIGINS", ["https://a.example.org", "http://files.example.org"], "uploads.W007"),
        ("FORWARDED_ALLOW_IPS", ["10.0.0.1"], "uploads.W008"),
        ("S3_CHECKSUMS", "off", "uploads.W009"),
        ("S3_CHECKSUMS", "payload", "uploads.W009"),
        ("UPLOAD_PART_BYTES", 256 * 1024**2, "uploads.W010"),
        ("UPLOAD_MAX_BYTES", 2**61, "uploads.W011"),
        ("DEBUG", True, "security.W018"),  # Django's own
        ("SECRET_KEY", "short", "security.W009"),  # Django's own
    ],
)
def test_invalid_setting_is_reported(
    production: dict[str, Any], settings: Settings, name: str, value: object, expected: str
) -> None:
    setattr(settings, name, value)
    assert messages() == [expected]


@pytest.mark.parametrize(
    ("host", "starttls", "expected"),
    [("mail.example.org", False, ["uploads.W014"]), ("mail.example.org", True, []), ("localhost", False, [])],
)
def test_mail_server_without_tls_is_reported(
    production: dict[str, Any], settings: Settings, host: str, starttls: bool, expected: list[str]
) -> None:
    settings.EMAIL_IS_CONFIGURED = True
    settings.EMAIL_HOST, settings.EMAIL_USE_TLS = host, starttls
    assert messages() == expected


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"USER": "postgres", "PASSWORD": "postgres"}, "uploads.E002"),
        ({"USER": "files", "PASSWORD": "Files"}, "uploads.E002"),
        ({"PASSWORD": "changeme", "HOST": "localhost"}, "uploads.E002"),
        ({"PASSWORD": ""}, "uploads.W004"),
        ({"PASSWORD": None}, "uploads.W004"),
        ({"OPTIONS": {}}, "uploads.W005"),
        ({"OPTIONS": {"sslmode": "require"}}, "uploads.W005"),
        ({"OPTIONS": {"sslmode": "disable"}}, "uploads.W005"),
        ({"OPTIONS": {}, "HOST": "10.0.0.5"}, "uploads.W005"),
    ],
)
def test_invalid_database_setting_is_reported(production: dict[str, Any], wrong: dict[str, Any], expected: str) -> None:
    production.update(wrong)
    assert messages() == [expected]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "", None, "/var/run/postgresql"])
def test_local_database_needs_no_tls(production: dict[str, Any], host: str | None) -> None:
    production.update(HOST=host, OPTIONS={})
    assert messages() == []


def test_client_certificate_replaces_the_password(production: dict[str, Any]) -> None:
    production.update(PASSWORD="", OPTIONS={"sslmode": "verify-full", "sslcert": "client.crt"})
    assert messages() == []


def test_common_password_is_an_error_except_in_debug_mode(production: dict[str, Any], settings: Settings) -> None:
    production.update(USER="postgres", PASSWORD="postgres")
    assert [message.id for message in run_checks()] == ["uploads.E002"]
    settings.DEBUG = True
    assert run_checks() == []


@pytest.mark.django_db(transaction=True)
def test_migrate_rejects_a_common_password() -> None:
    """Every deployment starts with `migrate`, the release command of the Procfile."""
    database = connection.settings_dict
    as_superuser("CREATE ROLE everybody_knows SUPERUSER LOGIN PASSWORD 'postgres'")
    url = "postgres://everybody_knows:postgres@{HOST}:{PORT}/{NAME}".format(**database)
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate", "--plan"], cwd=PROJECT, env={**os.environ, "DATABASE_URL": url},
            capture_output=True, text=True,
        )  # fmt: skip
    finally:
        as_superuser("DROP ROLE everybody_knows")
    assert done.returncode == 1
    assert "uploads.E002" in done.stderr


def test_no_message_holds_a_secret(production: dict[str, Any], settings: Settings) -> None:
    production.update(PASSWORD="hunter2", USER="hunter2", OPTIONS={})
    settings.SECRET_KEY = "hunter2"
    text = " ".join(str(message) for message in run_checks(include_deployment_checks=True))
    assert text
    assert "hunter2" not in text


def test_any_proxy_with_a_proxy_count_passes(production: dict[str, Any], settings: Settings) -> None:
    settings.FORWARDED_ALLOW_IPS, settings.PROXY_COUNT = ["*"], 1
    assert messages() == []


def test_every_message_says_what_to_do(production: dict[str, Any], settings: Settings) -> None:
    production.update(USER="postgres", PASSWORD="postgres", OPTIONS={})
    settings.HTTPS = False
    settings.S3_ORIGIN, settings.FAILPOINT = "http://s3.example.org", "x"
    messages = [
        message for message in run_checks(include_deployment_checks=True) if str(message.id).startswith("uploads.")
    ]
    assert len(messages) == 5
    assert all(message.hint for message in messages)


def test_checks_send_no_requests_to_storage(production: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.s3.client.client", None)
    monkeypatch.setattr("socket.socket.connect", None)
    assert messages() == []


# --- database locale --------------------------------------------------------------------------


def test_locale_of_the_test_database_passes() -> None:
    assert checks.check_database_locale(databases=["default"]) == []


def test_database_with_c_locale_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LOCALE_QUERY", "SELECT false")
    (warning,) = checks.check_database_locale(databases=["default"])
    assert warning.id == "uploads.W003"
    assert "C.UTF-8" in str(warning.hint)


def test_locale_check_is_silent_before_the_first_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LOCALE_QUERY", "SELECT not_there('x')")
    assert checks.check_database_locale(databases=["default"]) == []


def test_check_without_database_sends_no_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LOCALE_QUERY", "SELECT 1 / 0")
    call_command("check")
