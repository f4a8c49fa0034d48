"""A database without a valid certificate gets no password, and `doctor` reports the reason in one line."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from amalga.db import unpooled_connection
from tests.support.certificate_authority import CertificateAuthority
from tests.support.postgres_proxy import PostgresProxy
from uploads.services.doctor import Level, database
from uploads.services.doctor.database import tls_verification_error
from uploads.services.doctor.results import Deadline

pytestmark = pytest.mark.django_db

Serve = Callable[[ssl.SSLContext | None], None]


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


@pytest.fixture
def serve(authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Point the settings at a TLS proxy in front of the test database, as for a remote host."""
    settings = connection.settings_dict
    behind = (settings["HOST"], int(settings["PORT"]))
    with ExitStack() as stack:

        def serve(context: ssl.SSLContext | None) -> None:
            proxy = stack.enter_context(closing(PostgresProxy(behind, context)))
            proof = {"sslmode": "verify-full", "sslrootcert": str(authority.file)}
            changed = {"HOST": "localhost", "PORT": proxy.port, "OPTIONS": {**settings["OPTIONS"], **proof}}
            for name, value in changed.items():
                monkeypatch.setitem(settings, name, value)

        yield serve


def first_line() -> tuple[Level, str]:
    line, *_others = database.database_checks(Deadline(18))
    return line.level, line.reason


def test_server_with_valid_certificate_is_used_over_tls(authority: CertificateAuthority, serve: Serve) -> None:
    serve(authority.server("localhost"))
    with unpooled_connection() as opened:
        assert opened.pgconn.ssl_in_use
        assert opened.execute("SELECT 1").fetchone() == (1,)


def test_doctor_reports_a_verified_certificate(
    authority: CertificateAuthority, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(authority.server("localhost"))
    with unpooled_connection() as opened, monkeypatch.context() as patched:
        patched.setattr(connections["default"], "connection", opened)
        (line,) = dict(database.CHECKS)["database TLS"]()
    assert (line.level, line.reason) == (Level.OK, "on, certificate verified")


CASES: dict[str, tuple[Callable[[CertificateAuthority], ssl.SSLContext | None], str]] = {
    "by itself": (lambda it: it.server("localhost", signed=False), "the certificate is self-signed"),
    "other host": (lambda it: it.server("db.example.org"), "the certificate is for another host"),
    "expired": (lambda it: it.server("localhost", expired=True), "the certificate has expired"),
    "no tls": (lambda it: None, "the server has no TLS"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_server_with_invalid_certificate_is_reported_in_one_line(
    case: str, authority: CertificateAuthority, serve: Serve
) -> None:
    make, reason = CASES[case]
    serve(make(authority))
    with pytest.raises(OperationalError), unpooled_connection():
        pass
    assert first_line() == (Level.FAIL, f"cannot connect to localhost: {reason}")


def test_server_certificate_of_unknown_authority_is_rejected(tmp_path: Path, serve: Serve) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    serve(CertificateAuthority(elsewhere).server("localhost"))
    assert first_line() == (
        Level.FAIL,
        "cannot connect to localhost: the certificate is signed by an unknown authority",
    )


def test_rds_certificate_error_recommends_the_amazon_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        error = ssl.SSLCertVerificationError()
        error.verify_code = 19
        raise error

    monkeypatch.setattr("uploads.services.doctor.database._handshake", refused)
    explanation = tls_verification_error({"HOST": "files.abc.eu-west-3.rds.amazonaws.com", "OPTIONS": {}})
    assert explanation == (
        "the certificate is signed by Amazon RDS",
        "set DATABASE_CA to a file with Amazon's bundle",
    )
