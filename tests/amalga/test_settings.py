"""Settings: missing and invalid variables stop the start, and the error names the variable."""

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
    """Return the settings of a process with these variables and no others."""
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


def test_four_variables_are_sufficient(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings["S3_CHECKSUMS"] == "sha256"
    assert settings["S3_ORIGIN"] == "https://bucket.s3.us-east-1.amazonaws.com"
    assert (settings["DEBUG"], settings["HTTPS"]) == (False, True)
    assert settings["UPLOAD_PART_BYTES"] == 16 * 1024**2
    assert settings["SESSION_COOKIE_SECURE"] is settings["SECURE_SSL_REDIRECT"] is True


@pytest.mark.parametrize("value", [None, "", "   "])
@pytest.mark.parametrize("name", REQUIRED)
def test_missing_required_variable_is_named(name: str, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: value})


ODD = {
    "nonsense": "a lot", "negative": "-1", "fraction": "1.5", "scientific": "1e6", "with a unit": "16MiB",
    "grouped": "1_000_000", "other digits": "١٦٧٧٧٢١٦", "too large": "9" * 30, "far too large": "9" * 5000,
    "hex": "0x10",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", NUMBERS)
def test_invalid_number_is_rejected(name: str, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: ODD[odd]})


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "TRASH_RETENTION_DAYS"])
def test_zero_is_rejected_as_a_limit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: "0"})


@pytest.mark.parametrize("name", NUMBERS)
def test_empty_number_means_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, **{name: ""})[name] == read(monkeypatch)[name]


def test_part_size_must_be_at_least_5_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = 5 * 1024**2
    assert read(monkeypatch, UPLOAD_PART_BYTES=str(smallest))["UPLOAD_PART_BYTES"] == smallest
    with pytest.raises(ImproperlyConfigured, match="UPLOAD_PART_BYTES"):
        read(monkeypatch, UPLOAD_PART_BYTES=str(smallest - 1))


@pytest.mark.parametrize("value", ["maybe", "2", "-1", "onn", "тrue"])
@pytest.mark.parametrize("name", ["DEBUG", "HTTPS"])
def test_invalid_switch_is_rejected(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: value})


@pytest.mark.parametrize(("value", "on"), [("on", True), ("TRUE", True), ("1", True), ("off", False), ("No", False)])
def test_switch_accepts_common_spellings(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, HTTPS=value)["HTTPS"] is on


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite:///db.sqlite3", "sqlite://:memory:", "mysql://u:p@h/db", "http://h/db", "postgres://u:p@h:x/db",
     "postgres://u:p@h:99999/db", "postgres://[", "postgres://", "postgres://u:p@h/"],
)  # fmt: skip
def test_database_url_must_be_postgres(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as refusal:
        read(monkeypatch, DATABASE_URL=url)
    assert ":p@" not in str(refusal.value)


def test_percent_encoded_password_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, DATABASE_URL="postgres://us%40er:p%2F%23%3A%25w@h:5433/da-ta?sslmode=verify-full")
    database = settings["DATABASES"]["default"]
    assert (database["USER"], database["PASSWORD"], database["NAME"]) == ("us@er", "p/#:%w", "da-ta")
    assert database["OPTIONS"]["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://s3.example.org", "s3.example.org:9000", "http://", "https:///x", "http://["]
)
def test_invalid_endpoint_is_rejected(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="AWS_ENDPOINT_URL_S3"):
        read(monkeypatch, AWS_ENDPOINT_URL_S3=url)


def test_csp_allows_the_origin_of_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, AWS_ENDPOINT_URL_S3="https://s3.example.org:9000/base")
    assert settings["S3_ORIGIN"] == "https://s3.example.org:9000"
    assert settings["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]["connect-src"][1] == settings["S3_ORIGIN"]


@pytest.mark.parametrize("value", ["md5", "sha 256", "on", "true"])
def test_invalid_checksum_algorithm_is_rejected(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="S3_CHECKSUMS"):
        read(monkeypatch, S3_CHECKSUMS=value)


def test_checksum_algorithm_can_be_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, S3_CHECKSUMS="SHA256 ")["S3_CHECKSUMS"] == "sha256"


@pytest.mark.parametrize("value", ["files.example.org", "*", "ftp://files.example.org", "https://"])
def test_invalid_csrf_origin_is_rejected(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django reports it only in `check`, and rejects every form."""
    with pytest.raises(ImproperlyConfigured, match="CSRF_TRUSTED_ORIGINS"):
        read(monkeypatch, CSRF_TRUSTED_ORIGINS=value)


def test_lists_are_stripped_and_empty_items_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch, ALLOWED_HOSTS=" a.example.org, b.example.org,, ", UPLOAD_REFUSED_TYPES=".EXE, text/HTML",
        CSRF_TRUSTED_ORIGINS="https://a.example.org, https://*.example.org",
    )  # fmt: skip
    assert settings["ALLOWED_HOSTS"] == ["a.example.org", "b.example.org"]
    assert settings["UPLOAD_REFUSED_TYPES"] == [".exe", "text/html"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://a.example.org", "https://*.example.org"]


def test_database_timeouts_are_below_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person gets a 503 within ten seconds, so connect and the wait for a connection must be shorter."""
    options = read(monkeypatch)["DATABASES"]["default"]["OPTIONS"]
    assert options["connect_timeout"] < 10
    assert options["pool"]["timeout"] < 10
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert name in options["options"]


@pytest.mark.parametrize("name", ["SECRET_KEY", "UPLOAD_MAX_BYTES"])
def test_process_with_invalid_settings_does_not_start(name: str) -> None:
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
def test_gunicorn_names_the_invalid_variable(name: str, value: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "amalga/gunicorn_conf.py", "--check-config", "amalga.wsgi"],
        env={**os.environ, name: value},
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert name in result.stderr


# --- secondary storage ------------------------------------------------------------------------

OTHER = {"SECONDARY_S3_BUCKET": "old", "SECONDARY_S3_STORE_NAME": "old-store"}


def test_secondary_storage_is_unset_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch)["SECONDARY_S3"] is None


def test_csp_allows_the_origin_of_the_secondary_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **OTHER, SECONDARY_S3_ENDPOINT="https://s3.example.org:9000/")
    assert settings["SECONDARY_S3"]["endpoint"] == "https://s3.example.org:9000/"
    assert settings["SECONDARY_S3"]["addressing"] == "path"
    directives = settings["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    for name in ("connect-src", "img-src", "media-src", "frame-src"):
        assert directives[name][-2:] == [settings["S3_ORIGIN"], "https://s3.example.org:9000"]


def test_secondary_storage_can_have_an_empty_name(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_incomplete_or_identical_secondary_storage_is_rejected(
    variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImproperlyConfigured, match=named):
        read(monkeypatch, **variables)


# --- mail and site URL --------------------------------------------------------------------------

SENDER = {"DEFAULT_FROM_EMAIL": "Files <files@example.org>"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [("smtp://mail.example.org", ("mail.example.org", 25, "", "", False, False)),
     ("smtp+tls://u:p%40ss%2Fw+rd@mail.example.org", ("mail.example.org", 587, "u", "p@ss/w+rd", True, False)),
     ("smtp+ssl://u%40x.org:pw@mail.example.org/", ("mail.example.org", 465, "u@x.org", "pw", False, True)),
     ("smtp+tls://u:pw@[::1]:2525", ("::1", 2525, "u", "pw", True, False))],
)  # fmt: skip
def test_email_url_sets_mail_server(monkeypatch: pytest.MonkeyPatch, url: str, expected: tuple[object, ...]) -> None:
    settings = read(monkeypatch, EMAIL_URL=url, **SENDER)
    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(settings[f"EMAIL_{name}"] for name in names) == expected
    assert settings["EMAIL_IS_CONFIGURED"] is True
    assert settings["DEFAULT_FROM_EMAIL"] == "Files <files@example.org>"
    assert "EMAIL_URL" not in settings  # Django's debug pages show settings


def test_mail_server_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_site_url_follows_settings(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    assert read(monkeypatch, **variables)["SITE_URL"] == expected
