"""Settings: what is missing or makes no sense stops the start, and names the variable."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.conftest import PROJECT

REQUIRED = ["SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "AWS_STORAGE_BUCKET_NAME"]
NUMBERS = ["UPLOAD_PART_BYTES", "UPLOAD_MAX_BYTES", "UPLOAD_QUOTA_BYTES", "UPLOAD_QUOTA_FILES", "UPLOAD_QUOTA_FOLDERS",
           "UPLOAD_QUOTA_TAGS", "UPLOAD_EXPIRY_HOURS", "TRASH_RETENTION_DAYS"]  # fmt: skip
OURS = (
    "AWS_",
    "DATABASE_",
    "READ_DATABASE_",
    "UPLOAD_",
    "S3_",
    "SECONDARY_S3_",
    "SENTRY_",
    "TRASH_",
    "SECRET_",
    "HTTPS",
    "DEBUG",
    "CSRF_",
    "CLOUDFRONT_",
    "CSP_",
    "EMAIL_",
    "DEFAULT_FROM_",
    "SITE_",
)
WHOLE = {
    "SECRET_KEY": "0123456789abcdef" * 4,
    "ALLOWED_HOSTS": "files.example.org",
    "DATABASE_URL": "postgres://user:pw@db.example.org:5432/files",
    "AWS_STORAGE_BUCKET_NAME": "bucket",
}


def read(monkeypatch: pytest.MonkeyPatch, **variables: str | None) -> dict[str, Any]:
    """The settings as a process with these variables and no others would have them."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    for name, value in {**WHOLE, **variables}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    for name in [name for name in sys.modules if name.startswith("amalga.settings")]:
        monkeypatch.delitem(sys.modules, name)  # put back after the test
    return vars(importlib.import_module("amalga.settings"))


def test_four_variables_are_all_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings["S3_CHECKSUMS"] == "sha256"
    assert settings["S3_ORIGIN"] == "https://bucket.s3.us-east-1.amazonaws.com"
    assert (settings["DEBUG"], settings["HTTPS"]) == (False, True)
    assert settings["UPLOAD_PART_BYTES"] == 16 * 1024**2
    assert settings["SESSION_COOKIE_SECURE"] is settings["SECURE_SSL_REDIRECT"] is True


@pytest.mark.parametrize("value", [None, "", "   "])
@pytest.mark.parametrize("name", REQUIRED)
def test_what_is_required_and_missing_is_named(name: str, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: value})


ODD = {
    "nonsense": "a lot", "negative": "-1", "fraction": "1.5", "scientific": "1e6", "with a unit": "16MiB",
    "grouped": "1_000_000", "other digits": "١٦٧٧٧٢١٦", "too large": "9" * 30, "far too large": "9" * 5000,
    "hex": "0x10",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_none_is_named(name: str, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: ODD[odd]})


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "TRASH_RETENTION_DAYS"])
def test_zero_is_no_limit_that_one_can_work_with(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: "0"})


@pytest.mark.parametrize("name", NUMBERS)
def test_an_empty_number_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, **{name: ""})[name] == read(monkeypatch)[name]


def test_a_part_is_as_large_as_the_store_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = 5 * 1024**2
    assert read(monkeypatch, UPLOAD_PART_BYTES=str(smallest))["UPLOAD_PART_BYTES"] == smallest
    with pytest.raises(ImproperlyConfigured, match="UPLOAD_PART_BYTES"):
        read(monkeypatch, UPLOAD_PART_BYTES=str(smallest - 1))


@pytest.mark.parametrize("value", ["maybe", "2", "-1", "onn", "тrue"])
@pytest.mark.parametrize("name", ["DEBUG", "HTTPS"])
def test_a_switch_that_is_neither_on_nor_off_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: value})


@pytest.mark.parametrize(("value", "on"), [("on", True), ("TRUE", True), ("1", True), ("off", False), ("No", False)])
def test_a_switch_is_read_as_people_write_it(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, HTTPS=value)["HTTPS"] is on


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite:///db.sqlite3", "sqlite://:memory:", "mysql://u:p@h/db", "http://h/db", "postgres://u:p@h:x/db",
     "postgres://u:p@h:99999/db", "postgres://[", "postgres://", "postgres://u:p@h/"],
)  # fmt: skip
def test_a_database_that_is_no_postgres_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as refusal:
        read(monkeypatch, DATABASE_URL=url)
    assert ":p@" not in str(refusal.value)


def test_a_password_with_odd_characters_reaches_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, DATABASE_URL="postgres://us%40er:p%2F%23%3A%25w@h:5433/da-ta?sslmode=verify-full")
    database = settings["DATABASES"]["default"]
    assert (database["USER"], database["PASSWORD"], database["NAME"]) == ("us@er", "p/#:%w", "da-ta")
    assert database["OPTIONS"]["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://s3.example.org", "s3.example.org:9000", "http://", "https:///x", "http://["]
)
def test_an_endpoint_that_is_no_address_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="AWS_ENDPOINT_URL_S3"):
        read(monkeypatch, AWS_ENDPOINT_URL_S3=url)


def test_an_endpoint_is_what_the_policy_lets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, AWS_ENDPOINT_URL_S3="https://s3.example.org:9000/base")
    assert settings["S3_ORIGIN"] == "https://s3.example.org:9000"
    assert settings["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]["connect-src"][1] == settings["S3_ORIGIN"]


@pytest.mark.parametrize("value", ["md5", "SHA256 ", "on", "true"])
def test_a_kind_of_checksum_that_is_none_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="S3_CHECKSUMS"):
        read(monkeypatch, S3_CHECKSUMS=value)


@pytest.mark.parametrize("value", ["files.example.org", "*", "ftp://files.example.org", "https://"])
def test_an_origin_without_a_scheme_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django would say so only in `check`, and every form would be refused."""
    with pytest.raises(ImproperlyConfigured, match="CSRF_TRUSTED_ORIGINS"):
        read(monkeypatch, CSRF_TRUSTED_ORIGINS=value)


def test_lists_are_read_with_their_blanks_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch, ALLOWED_HOSTS=" a.example.org, b.example.org,, ", UPLOAD_REFUSED_TYPES=".EXE, text/HTML",
        CSRF_TRUSTED_ORIGINS="https://a.example.org, https://*.example.org",
    )  # fmt: skip
    assert settings["ALLOWED_HOSTS"] == ["a.example.org", "b.example.org"]
    assert settings["UPLOAD_REFUSED_TYPES"] == [".exe", "text/html"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://a.example.org", "https://*.example.org"]


def test_time_limits_end_before_a_person_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """connect, the wait for a connection, and a statement each stay below the ten seconds of a 503."""
    options = read(monkeypatch)["DATABASES"]["default"]["OPTIONS"]
    assert options["connect_timeout"] < 10
    assert options["pool"]["timeout"] < 10
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert name in options["options"]


@pytest.mark.parametrize("name", ["SECRET_KEY", "UPLOAD_MAX_BYTES"])
def test_a_process_with_odd_settings_does_not_start(name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import amalga.settings"],
        env={**os.environ, name: "" if name == "SECRET_KEY" else "x"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert f"ImproperlyConfigured: {name}" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(("name", "value"), [("WEB_CONCURRENCY", "x"), ("WEB_CONCURRENCY", "0"), ("PORT", "99999")])
def test_gunicorn_names_what_it_cannot_use(name: str, value: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "amalga/gunicorn_conf.py", "--check-config", "amalga.wsgi"],
        env={**os.environ, name: value},
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert name in result.stderr


# --- the other store --------------------------------------------------------------------------

OTHER = {"SECONDARY_S3_BUCKET": "old", "SECONDARY_S3_STORE_NAME": "old-store"}


def test_no_other_store_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch)["SECONDARY_S3"] is None


def test_another_store_is_a_foreign_origin_that_pages_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **OTHER, SECONDARY_S3_ENDPOINT="https://s3.example.org:9000/")
    assert settings["SECONDARY_S3"]["endpoint"] == "https://s3.example.org:9000/"
    assert settings["SECONDARY_S3"]["addressing"] == "path"
    directives = settings["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    for name in ("connect-src", "img-src", "media-src", "frame-src"):
        assert directives[name][-2:] == [settings["S3_ORIGIN"], "https://s3.example.org:9000"]


def test_the_store_that_is_left_may_have_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, S3_STORE_NAME="new", SECONDARY_S3_BUCKET="old")
    assert (settings["S3_STORE_NAME"], settings["SECONDARY_S3"]["name"]) == ("new", "")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"SECONDARY_S3_STORE_NAME": "old"}, "SECONDARY_S3_BUCKET"),
        ({"SECONDARY_S3_ENDPOINT": "https://s3.example.org"}, "SECONDARY_S3_BUCKET"),
        ({"SECONDARY_S3_ACCESS_KEY_ID": "key"}, "SECONDARY_S3_BUCKET"),
        ({"SECONDARY_S3_BUCKET": "old"}, "SECONDARY_S3_STORE_NAME"),
        ({**OTHER, "S3_STORE_NAME": "old-store"}, "SECONDARY_S3_STORE_NAME"),
        ({**OTHER, "SECONDARY_S3_BUCKET": "bucket"}, "SECONDARY_S3_BUCKET"),
        ({**OTHER, "SECONDARY_S3_ACCESS_KEY_ID": "key"}, "SECONDARY_S3_SECRET_ACCESS_KEY"),
        ({**OTHER, "SECONDARY_S3_SECRET_ACCESS_KEY": "secret"}, "SECONDARY_S3_ACCESS_KEY_ID"),
        ({**OTHER, "SECONDARY_S3_CHECKSUMS": "md5"}, "SECONDARY_S3_CHECKSUMS"),
        ({**OTHER, "SECONDARY_S3_ENDPOINT": "nonsense"}, "SECONDARY_S3_ENDPOINT"),
        ({**OTHER, "SECONDARY_S3_STORE_NAME": "x" * 41}, "SECONDARY_S3_STORE_NAME"),
        ({"S3_STORE_NAME": "x" * 41}, "S3_STORE_NAME"),
    ],
)
def test_half_another_store_or_the_same_one_is_named(
    variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImproperlyConfigured, match=named):
        read(monkeypatch, **variables)


# --- mail, and the address of the site ----------------------------------------------------------

SENDER = {"DEFAULT_FROM_EMAIL": "Files <files@example.org>"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [("smtp://mail.example.org", ("mail.example.org", 25, "", "", False, False)),
     ("smtp+tls://u:p%40ss%2Fw+rd@mail.example.org", ("mail.example.org", 587, "u", "p@ss/w+rd", True, False)),
     ("smtp+ssl://u%40x.org:pw@mail.example.org/", ("mail.example.org", 465, "u@x.org", "pw", False, True)),
     ("smtp+tls://u:pw@[::1]:2525", ("::1", 2525, "u", "pw", True, False))],
)  # fmt: skip
def test_mail_server(monkeypatch: pytest.MonkeyPatch, url: str, expected: tuple[object, ...]) -> None:
    settings = read(monkeypatch, EMAIL_URL=url, **SENDER)
    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(settings[f"EMAIL_{name}"] for name in names) == expected
    assert settings["EMAIL_IS_CONFIGURED"] is True
    assert settings["DEFAULT_FROM_EMAIL"] == "Files <files@example.org>"
    assert "EMAIL_URL" not in settings  # Django's debug pages show settings


def test_no_mail_server_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings["EMAIL_IS_CONFIGURED"] is False
    assert settings["EMAIL_BACKEND"] == "django.core.mail.backends.dummy.EmailBackend"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "https://files.example.org"),
     ({"ALLOWED_HOSTS": ".example.org,files.example.org"}, "https://files.example.org"),
     ({"CSRF_TRUSTED_ORIGINS": "https://front.example.org:8443"}, "https://front.example.org:8443"),
     ({"CSRF_TRUSTED_ORIGINS": "http://front.example.org"}, "https://files.example.org"),
     ({"SITE_URL": "https://Files.example.org/"}, "https://files.example.org"),
     ({"SITE_URL": "https://front.example.org", "CSRF_TRUSTED_ORIGINS": "https://front.example.org"},
      "https://front.example.org"),
     ({"HTTPS": "off", "PORT": "8123", "ALLOWED_HOSTS": "localhost"}, "http://localhost:8123"),
     ({"ALLOWED_HOSTS": "*"}, "")],
)  # fmt: skip
def test_address_of_the_site(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    assert read(monkeypatch, **variables)["SITE_URL"] == expected
