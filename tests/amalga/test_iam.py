"""IAM database tokens: each connection signs its own, and a fake RDS validates it by the rules of AWS."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import boto3
import pytest
from django.db import OperationalError, connection, connections

from amalga.db.connection import TokenConnection, database_token, region_of
from tests.support.certificate_authority import CertificateAuthority
from tests.support.postgres_proxy import PostgresProxy
from tests.support.postgres_standby import as_superuser, data_folder, reload_configuration
from uploads.s3 import client
from uploads.services.doctor import Level, database
from uploads.services.doctor.results import Deadline

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

ROLE = "by_token_only"
KEY, SECRET, SESSION = "AKIDEXAMPLE", "secret/of+the/tests", "a-session-token"
LIFE_SECONDS = 900


class Rds:
    """Accepts a token that was signed with our secret for this host, port and user and has not expired.

    IAM user guide, "Create a signed AWS API request": query signature, empty body.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.life: float = LIFE_SECONDS
        self.seen: list[str] = []

    def authenticates(self, user: str, token: str) -> bool:
        self.seen.append(token)
        parts = urlsplit(f"//{token}")
        query = dict(parse_qsl(parts.query))
        signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        in_time = 0 <= (datetime.now(UTC) - signed).total_seconds() < min(self.life, int(query["X-Amz-Expires"]))
        right = query.pop("X-Amz-Signature") == self._signature(query)
        return right and in_time and (query["Action"], query["DBUser"], parts.netloc) == ("connect", user, self.place)

    def _signature(self, query: dict[str, str]) -> str:
        date, region, service, _end = query["X-Amz-Credential"].split("/")[1:]
        assert (region, service) == ("eu-west-3", "rds-db")
        listed = "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))
        request = f"GET\n/\n{listed}\nhost:{self.place}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
        scope = f"{date}/{region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for word in (date, region, service, "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


@pytest.fixture
def trusting() -> Iterator[None]:
    """Postgres trusts this role without a password, as RDS does once it has verified the token."""
    file = data_folder() / "pg_hba.conf"
    before = file.read_text()
    as_superuser(f"CREATE ROLE {ROLE} LOGIN IN ROLE {connection.settings_dict['USER']}")
    file.write_text(f"host all {ROLE} 127.0.0.1/32 trust\n{before}")
    reload_configuration()
    yield
    file.write_text(before)
    reload_configuration()
    as_superuser(f"DROP ROLE {ROLE}")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary credentials with a session token."""
    for name, value in (("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", SESSION)):
        monkeypatch.setenv(f"AWS_{name}", value)
    forget()
    yield
    forget()


def forget() -> None:
    client.session.cache_clear()


@pytest.fixture
def rds(trusting: None, credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rds]:
    """Point the connection settings at a fake RDS; open connections stay."""
    monkeypatch.setattr("amalga.db.connection.region_of", lambda _host: "eu-west-3")
    authority, settings = CertificateAuthority(tmp_path), connection.settings_dict
    rds = Rds("")
    proxy = PostgresProxy((settings["HOST"], int(settings["PORT"])), authority.server("localhost"), rds.authenticates)
    rds.place = f"localhost:{proxy.port}"
    options: dict[str, Any] = {
        **settings["OPTIONS"], "sslmode": "verify-full", "sslrootcert": str(authority.file),
        "pool": {**settings["OPTIONS"]["pool"], "connection_class": TokenConnection, "min_size": 0},
    }  # fmt: skip
    changed = {"HOST": "localhost", "PORT": proxy.port, "USER": ROLE, "PASSWORD": "", "OPTIONS": options}
    for name, value in changed.items():
        monkeypatch.setitem(settings, name, value)
    yield rds
    proxy.close()


@pytest.fixture
def pooled(rds: Rds) -> Iterator[Any]:
    wrapper: Any = connection.copy(alias=ROLE)
    connections[ROLE] = wrapper  # where Django's handlers of `connection_created` find it
    yield wrapper
    wrapper.close()
    wrapper.close_pool()
    del connections[ROLE]


def who(wrapper: Any) -> str:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT current_user")
        (name,) = cursor.fetchone()
    wrapper.close()
    return str(name)


def test_each_connection_signs_in_with_its_own_token(rds: Rds, pooled: Any) -> None:
    assert who(pooled) == ROLE
    usual, rds.life = rds.life, 1
    time.sleep(1.1)
    assert who(pooled) == ROLE  # the same connection: its token is verified only once
    assert len(rds.seen) == 1
    rds.life = usual  # a busy machine may take longer than a second to connect
    pooled.pool.drain()
    assert who(pooled) == ROLE
    assert len(set(rds.seen)) == 2


def test_expired_iam_token_is_refused(rds: Rds, pooled: Any) -> None:
    """A cached token would fail like this."""
    assert who(pooled) == ROLE
    rds.life = 1
    time.sleep(1.1)
    assert not rds.authenticates(ROLE, rds.seen[0])


def test_token_equals_the_one_from_boto3(credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amalga.db.connection.region_of", lambda _host: "eu-west-3")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: datetime(2026, 11, 23, 8, 0, 0))  # noqa: DTZ001
    session = boto3.session.Session(region_name="eu-west-3")  # the default session may have cached other keys
    theirs = session.client("rds").generate_db_auth_token("db.example.org", 5432, "am+a lga")
    ours = database_token("db.example.org", 5432, "am+a lga")
    assert sorted(ours.split("&")) == sorted(theirs.split("&"))


def test_token_for_another_user_or_host_is_rejected(rds: Rds, pooled: Any) -> None:
    assert who(pooled) == ROLE
    assert rds.authenticates(ROLE, rds.seen[0])
    assert not rds.authenticates("postgres", rds.seen[0])
    rds.place = "other.example.org:5432"
    assert not rds.authenticates(ROLE, rds.seen[0])


def test_tokens_and_secrets_are_not_logged(rds: Rds, pooled: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rds.life = 0
    with pytest.raises(OperationalError) as refusal:
        who(pooled)
    text = f"{refusal.value!r} {refusal.value.__cause__!r} {caplog.text}"
    assert not any(secret in text for secret in (SECRET, SESSION, "X-Amz-Signature", *rds.seen))


def test_missing_iam_credentials_are_reported_as_unavailable_database(
    rds: Rds, pooled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget()
    with pytest.raises(OperationalError):
        who(pooled)
    assert rds.seen == []


@pytest.mark.parametrize(("life", "level"), [(LIFE_SECONDS, Level.OK), (0, Level.FAIL)])
def test_doctor_signs_in_with_an_iam_token(rds: Rds, life: int, level: Level) -> None:
    rds.life = life
    first, *_others = database.database_checks(Deadline(18))
    assert (first.level, "the IAM token was rejected" in first.reason) == (level, life == 0)
    assert rds.seen


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("files.abc123.eu-central-1.rds.amazonaws.com", "eu-central-1"),
        ("files.cluster-ro-abc123.us-gov-west-1.rds.amazonaws.com", "us-gov-west-1"),
        ("files.abc123.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("db.example.org", "us-east-1"),
    ],
)
def test_region_is_read_from_the_host_name(host: str, region: str) -> None:
    assert region_of(host) == region
