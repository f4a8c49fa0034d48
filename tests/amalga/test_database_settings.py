"""Where the database is, as the variables say: half of it, twice of it, or without proof, and the start is refused."""

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


# --- its parts --------------------------------------------------------------------------------


def test_a_url_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As RDS keeps its secret: a password of any characters, none of which means anything."""
    place = database(monkeypatch, **PARTS)["default"]
    assert (place["HOST"], place["PORT"], place["NAME"]) == ("db.example.org", 5432, "files")
    assert (place["USER"], place["PASSWORD"]) == ("amalga", "$ec/ret: #1 ")


@pytest.mark.parametrize("part", ["HOST", "NAME", "USER"])
def test_a_part_that_is_missing_is_named(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_{part} is not set"):
        database(monkeypatch, **{**PARTS, f"DATABASE_{part}": " "})


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1"])
def test_a_port_that_is_none_is_named(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_PORT"):
        database(monkeypatch, **PARTS, DATABASE_PORT=port)


@pytest.mark.parametrize("part", ["HOST", "PORT", "NAME", "USER", "PASSWORD"])
def test_the_url_and_a_part_of_it_is_one_too_many(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_URL and DATABASE_{part}"):
        database(monkeypatch, **{f"DATABASE_{part}": "5432"})


@pytest.mark.parametrize("count", ["0", "many", "1001"])
def test_a_number_of_connections_that_is_none_is_named(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_CONNECTIONS"):
        database(monkeypatch, DATABASE_CONNECTIONS=count)
    assert database(monkeypatch, DATABASE_CONNECTIONS="9")["default"]["OPTIONS"]["pool"]["max_size"] == 9


def test_each_thread_has_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be at least WEB_THREADS"):
        database(monkeypatch, DATABASE_CONNECTIONS="9", WEB_THREADS="10")
    options = database(monkeypatch, DATABASE_CONNECTIONS="", WEB_THREADS="20")["default"]["OPTIONS"]
    assert options["pool"]["max_size"] == 40


# --- the replica ------------------------------------------------------------------------------


def test_a_replica_differs_in_its_host_alone(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    databases = database(monkeypatch, DATABASE_CA=bundle, READ_DATABASE_HOST="ro.example.org")
    main, replica = databases["default"], databases["replica"]
    assert replica["HOST"] == "ro.example.org"
    assert [replica[part] for part in ("PORT", "NAME", "USER", "PASSWORD")] == [
        main[part] for part in ("PORT", "NAME", "USER", "PASSWORD")
    ]
    assert (replica["OPTIONS"]["sslmode"], replica["OPTIONS"]["sslrootcert"]) == ("verify-full", bundle)
    assert "default_transaction_read_only=on" in replica["OPTIONS"]["options"]
    assert "default_transaction_read_only" not in main["OPTIONS"]["options"]


def test_without_a_replica_nothing_stands_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert list(settings["DATABASES"]) == ["default"]
    assert settings["DATABASE_ROUTERS"] == []


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"READ_DATABASE_URL": URL}, "READ_DATABASE_URL must be a replica"),
        ({"READ_DATABASE_HOST": "DB.example.org"}, "READ_DATABASE_HOST must be a replica"),
        ({"READ_DATABASE_URL": "nonsense"}, "READ_DATABASE_URL must be like postgres://"),
        ({"READ_DATABASE_URL": "postgres://postgres:postgres@ro.example.org/files"}, "too common"),
        ({"READ_DATABASE_URL": URL, "READ_DATABASE_HOST": "ro.example.org"}, "are both set"),
    ],
)
def test_a_replica_that_makes_no_sense_is_named(
    variables: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImproperlyConfigured, match=why):
        database(monkeypatch, **variables)


# --- its proof --------------------------------------------------------------------------------


def test_remote_database_requires_a_verified_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch)["default"]["OPTIONS"]
    assert options["sslmode"] == "verify-full"
    assert Path(options["sslrootcert"]).is_file() or options["sslrootcert"] == "system"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_one_on_this_machine_does_not(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch, DATABASE_URL=f"postgres://u:p@{host}/files")["default"]["OPTIONS"]
    assert not {"sslmode", "sslrootcert"} & set(options)


def test_the_providers_certificates_are_a_file(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (URL, "postgres://u:pw@localhost/files"):
        options = database(monkeypatch, DATABASE_URL=url, DATABASE_CA=bundle)["default"]["OPTIONS"]
        assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", bundle)


def test_sslmode_of_the_url_has_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch, DATABASE_URL=f"{URL}?sslmode=disable")["default"]["OPTIONS"]
    assert options["sslmode"] == "disable"
    assert "sslrootcert" not in options


def test_a_mode_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="sslmode in DATABASE_URL must be verify-full, not “verify_full”"):
        database(monkeypatch, DATABASE_URL=f"{URL}?sslmode=verify_full")


@pytest.mark.parametrize("odd", ["/no/such/file.pem", "/", "README.md"])
def test_a_file_without_certificates_is_named(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_CA must be a file with certificates: {odd} "):
        database(monkeypatch, DATABASE_CA=odd)


@pytest.mark.parametrize("also", ["sslmode=require", "sslmode=disable", "sslrootcert=/other.pem"])
def test_certificates_that_would_not_be_verified_are_refused(
    also: str, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_CA"):
        database(monkeypatch, DATABASE_URL=f"{URL}?{also}", DATABASE_CA=bundle)


@pytest.mark.parametrize(
    "who", ["postgres:postgres", "postgres:Password", "files:files", "amalga:changeme", "root:root"]
)
def test_a_password_that_everybody_knows_is_refused(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for debug in ("on", "off"):
        with pytest.raises(ImproperlyConfigured, match="too common") as refusal:
            database(monkeypatch, DATABASE_URL=f"postgres://{who}@db.example.org/files", DEBUG=debug)
        assert who not in str(refusal.value)
    user, password = who.split(":")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_HOST"):
        database(monkeypatch, **{**PARTS, "DATABASE_USER": user, "DATABASE_PASSWORD": password})


# --- tokens -----------------------------------------------------------------------------------


def test_tokens_take_the_place_of_a_password(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {**PARTS, "DATABASE_PASSWORD": "", "DATABASE_IAM": "on", "DATABASE_CA": bundle}
    options = database(monkeypatch, **parts)["default"]["OPTIONS"]
    assert options["pool"]["connection_class"] is TokenConnection
    assert database(monkeypatch)["default"]["OPTIONS"]["pool"]["connection_class"] is Connection


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgres://amalga:pw@db.example.org/files", "has a password"),
        ("postgres://db.example.org/files", "must have a user"),
        ("postgres://amalga@a.example.org,b.example.org/files", "must have a user and exactly one host"),
        ("postgres://amalga@db.example.org/files?sslmode=require", "verify-full"),
        ("postgres://amalga@localhost/files", "verify-full"),
    ],
)
def test_tokens_that_would_not_do_are_refused(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"DATABASE_IAM is on.*{why}"):
        database(monkeypatch, DATABASE_URL=url, DATABASE_IAM="on")


@pytest.mark.parametrize("name", ["DATABASE_IAM", "DATABASE_POOLER"])
def test_a_switch_that_is_none_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        database(monkeypatch, **{name: "maybe"})


def test_options_of_the_url_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    options = database(monkeypatch, DATABASE_URL=f"{URL}?options=-c%20work_mem%3D8MB")["default"]["OPTIONS"]["options"]
    assert options.startswith("-c work_mem=8MB -c statement_timeout=8s")


def test_a_pooler_is_sent_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "statement_timeout=8s" in database(monkeypatch)["default"]["OPTIONS"]["options"]
    assert "options" not in database(monkeypatch, DATABASE_POOLER="on")["default"]["OPTIONS"]
