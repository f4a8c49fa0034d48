"""Database settings: incomplete, contradictory or unverified connections stop the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from amalga.db import Connection, TokenConnection
from tests.amalga.test_settings import WHOLE, read
from tests.support.certificate_authority import CertificateAuthority

URL = WHOLE["DATABASE_URL"]
PARTS = {
    "DATABASE_URL": "",
    "DATABASE_HOST": "db.example.org",
    "DATABASE_NAME": "files",
    "DATABASE_USER": "amalga",
    "DATABASE_PASSWORD": "$ec/ret: #1 ",
}


def database(monkeypatch: pytest.MonkeyPatch, **variables: str | None) -> dict[str, Any]:
    databases: dict[str, Any] = read(monkeypatch, **variables)["DATABASES"]
    return databases


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return str(CertificateAuthority(tmp_path).file)


# --- separate variables -----------------------------------------------------------------------


def test_database_can_be_set_in_separate_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a secret of RDS: the password can contain any character, and none is interpreted."""
    place = database(monkeypatch, **PARTS)["default"]
    assert (place["HOST"], place["PORT"], place["NAME"]) == ("db.example.org", 5432, "files")
    assert (place["USER"], place["PASSWORD"]) == ("amalga", "$ec/ret: #1 ")


@pytest.mark.parametrize("part", ["HOST", "NAME", "USER"])
def test_missing_part_is_named_in_the_error(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_{part} is not set"):
        database(monkeypatch, **{**PARTS, f"DATABASE_{part}": " "})


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1"])
def test_invalid_port_is_rejected(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_PORT"):
        database(monkeypatch, **PARTS, DATABASE_PORT=port)


@pytest.mark.parametrize("part", ["HOST", "PORT", "NAME", "USER", "PASSWORD"])
def test_url_together_with_a_separate_part_is_rejected(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_URL and DATABASE_{part}"):
        database(monkeypatch, **{f"DATABASE_{part}": "5432"})


@pytest.mark.parametrize("count", ["0", "many", "1001"])
def test_invalid_number_of_connections_is_rejected(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_CONNECTIONS"):
        database(monkeypatch, DATABASE_CONNECTIONS=count)
    assert database(monkeypatch, DATABASE_CONNECTIONS="9")["default"]["OPTIONS"]["pool"]["max_size"] == 9


def test_pool_has_at_least_one_connection_per_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be at least WEB_THREADS"):
        database(monkeypatch, DATABASE_CONNECTIONS="9", WEB_THREADS="10")
    options = database(monkeypatch, DATABASE_CONNECTIONS="", WEB_THREADS="20")["default"]["OPTIONS"]
    assert options["pool"]["max_size"] == 40


# --- replica ----------------------------------------------------------------------------------


def test_replica_host_shares_all_other_settings_of_the_primary(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    databases = database(monkeypatch, DATABASE_CA=bundle, READ_DATABASE_HOST="ro.example.org")
    main, replica = databases["default"], databases["replica"]
    assert replica["HOST"] == "ro.example.org"
    assert [replica[part] for part in ("PORT", "NAME", "USER", "PASSWORD")] == [
        main[part] for part in ("PORT", "NAME", "USER", "PASSWORD")
    ]
    assert (replica["OPTIONS"]["sslmode"], replica["OPTIONS"]["sslrootcert"]) == ("verify-full", bundle)
    assert "default_transaction_read_only=on" in replica["OPTIONS"]["options"]
    assert "default_transaction_read_only" not in main["OPTIONS"]["options"]


def test_no_replica_means_one_database_and_no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert list(settings["DATABASES"]) == ["default"]
    assert settings["DATABASE_ROUTERS"] == []


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"READ_DATABASE_URL": URL}, "READ_DATABASE_URL must be a replica"),
        ({"READ_DATABASE_HOST": "DB.example.org"}, "READ_DATABASE_HOST must be a replica"),
        ({"READ_DATABASE_URL": "nonsense"}, "READ_DATABASE_URL must be like postgres://"),
        ({"READ_DATABASE_URL": "postgres://postgres:postgres@ro.example.org/files"}, "too common"),
        ({"READ_DATABASE_URL": URL, "READ_DATABASE_HOST": "ro.example.org"}, "are both set"),
    ],
)
def test_invalid_replica_settings_are_rejected(
    variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImproperlyConfigured, match=reason):
        database(monkeypatch, **variables)


# --- TLS verification -------------------------------------------------------------------------


def test_remote_database_requires_a_verified_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch)["default"]["OPTIONS"]
    assert options["sslmode"] == "verify-full"
    assert Path(options["sslrootcert"]).is_file() or options["sslrootcert"] == "system"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_local_database_requires_no_certificate(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch, DATABASE_URL=f"postgres://u:p@{host}/files")["default"]["OPTIONS"]
    assert not {"sslmode", "sslrootcert"} & set(options)


def test_database_ca_sets_the_root_certificates(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (URL, "postgres://u:pw@localhost/files"):
        options = database(monkeypatch, DATABASE_URL=url, DATABASE_CA=bundle)["default"]["OPTIONS"]
        assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", bundle)


def test_sslmode_of_the_url_has_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch, DATABASE_URL=f"{URL}?sslmode=disable")["default"]["OPTIONS"]
    assert options["sslmode"] == "disable"
    assert "sslrootcert" not in options


def test_invalid_sslmode_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="sslmode in DATABASE_URL must be verify-full, not “verify_full”"):
        database(monkeypatch, DATABASE_URL=f"{URL}?sslmode=verify_full")


@pytest.mark.parametrize("odd", ["/no/such/file.pem", "/", "README.md"])
def test_file_without_certificates_is_rejected(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_CA must be a file with certificates: {odd} "):
        database(monkeypatch, DATABASE_CA=odd)


@pytest.mark.parametrize("also", ["sslmode=require", "sslmode=disable", "sslrootcert=/other.pem"])
def test_database_ca_with_unverified_tls_is_rejected(also: str, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_CA"):
        database(monkeypatch, DATABASE_URL=f"{URL}?{also}", DATABASE_CA=bundle)


@pytest.mark.parametrize(
    "who", ["postgres:postgres", "postgres:Password", "files:files", "amalga:changeme", "root:root"]
)
def test_common_password_is_rejected_without_printing_it(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for debug in ("on", "off"):
        with pytest.raises(ImproperlyConfigured, match="too common") as refusal:
            database(monkeypatch, DATABASE_URL=f"postgres://{who}@db.example.org/files", DEBUG=debug)
        assert who not in str(refusal.value)
    user, password = who.split(":")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_HOST"):
        database(monkeypatch, **{**PARTS, "DATABASE_USER": user, "DATABASE_PASSWORD": password})


# --- IAM tokens -------------------------------------------------------------------------------


def test_iam_authentication_uses_token_connections(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {**PARTS, "DATABASE_PASSWORD": "", "DATABASE_IAM": "on", "DATABASE_CA": bundle}
    options = database(monkeypatch, **parts)["default"]["OPTIONS"]
    assert options["pool"]["connection_class"] is TokenConnection
    assert database(monkeypatch)["default"]["OPTIONS"]["pool"]["connection_class"] is Connection


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgres://amalga:pw@db.example.org/files", "has a password"),
        ("postgres://db.example.org/files", "must have a user"),
        ("postgres://amalga@a.example.org,b.example.org/files", "must have a user and exactly one host"),
        ("postgres://amalga@db.example.org/files?sslmode=require", "verify-full"),
        ("postgres://amalga@localhost/files", "verify-full"),
    ],
)
def test_iam_authentication_rejects_incompatible_urls(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_IAM is on.*{reason}"):
        database(monkeypatch, DATABASE_URL=url, DATABASE_IAM="on")


@pytest.mark.parametrize("name", ["DATABASE_IAM", "DATABASE_POOLER"])
def test_invalid_switch_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        database(monkeypatch, **{name: "maybe"})


def test_options_of_the_url_precede_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch, DATABASE_URL=f"{URL}?options=-c%20work_mem%3D8MB")["default"]["OPTIONS"]["options"]
    assert options.startswith("-c work_mem=8MB -c statement_timeout=8s")


def test_pooler_gets_no_connection_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "statement_timeout=8s" in database(monkeypatch)["default"]["OPTIONS"]["options"]
    assert "options" not in database(monkeypatch, DATABASE_POOLER="on")["default"]["OPTIONS"]
