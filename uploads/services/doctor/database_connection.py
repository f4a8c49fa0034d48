"""Explain why a database cannot be reached, or why its certificate is not trusted."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from django.db import DatabaseError, connections

from amalga.db import Connection, TokenConnection, unpooled_connection
from uploads.services.doctor.results import CheckResult, fail

REASONS = {
    "28P01": ("wrong password", "correct DATABASE_URL"),
    "28000": ("this role cannot connect from here, or not without TLS", "check the role and pg_hba.conf"),
    "3D000": ("the database does not exist", "create it, or correct DATABASE_URL"),
    "53300": ("no connections left", "raise max_connections, or lower WEB_CONCURRENCY"),
    "57P03": ("starting or stopping", "wait, and run doctor again"),
}
TOKEN_REFUSAL = (
    "the IAM token was rejected",
    "grant rds_iam to the database role, and rds-db:connect to the IAM role",
)
POOLER_REFUSAL = ("a pooler rejects connection options", "set DATABASE_POOLER=on")


def connection_error(subject: str = "database", alias: str = "default") -> CheckResult | None:
    """Return why the database cannot be reached, or None. Connects without the pool, which hides the reasons."""
    database: dict[str, Any] = connections[alias].settings_dict
    try:
        with unpooled_connection(alias):
            return None
    except DatabaseError as error:
        state = str(getattr(error.__cause__, "sqlstate", None) or "")
        reason, advice = _message_of(state, str(error), database)
        return fail(subject, f"cannot connect to {database.get('HOST') or 'this machine'}: {reason}", advice)


def _message_of(state: str, text: str, database: dict[str, Any]) -> tuple[str, str]:
    lower = text.lower()
    if _uses_iam_token(database) and (state == "28P01" or "authentication failed" in lower):
        return TOKEN_REFUSAL
    if "no iam token" in lower:
        return "no AWS credentials for an IAM token", "give the process an IAM role"
    if state in REASONS:
        return REASONS[state]
    if "certificate" in lower or "ssl" in lower:
        return tls_verification_error(database)
    return _network_error(lower)


def _uses_iam_token(database: dict[str, Any]) -> bool:
    return issubclass((database["OPTIONS"].get("pool") or {}).get("connection_class", Connection), TokenConnection)


def _network_error(text: str) -> tuple[str, str]:
    if "password authentication" in text:
        return REASONS["28P01"]
    if "does not exist" in text and "database" in text:
        return REASONS["3D000"]
    if "startup parameter" in text:
        return POOLER_REFUSAL
    if "resolve" in text or "name or service" in text:
        return "unknown host", "correct DATABASE_URL, or check DNS"
    if "refused" in text:
        return "connection refused", "start Postgres, or correct DATABASE_URL"
    if "too many" in text or "remaining connection slots" in text or "no more connections" in text:
        return REASONS["53300"]
    return "timed out", "check the network, security groups first"


SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL documentation, "Message Formats"
HANDSHAKE_SECONDS = 3.0
# X509_V_ERR_* of OpenSSL's x509_vfy.h
NOT_YET, EXPIRED, SELF_SIGNED, OTHER_HOST, OTHER_ADDRESS = 9, 10, 18, 62, 64
NO_ISSUER = {2, 19, 20, 21}

Explanation = tuple[str, str]
UNKNOWN_TLS_ERROR: Explanation = (
    "TLS handshake failed, or the certificate is invalid",
    "check sslmode and DATABASE_CA",
)


def tls_verification_error(database: dict[str, Any]) -> Explanation:
    """Return what is wrong with the server's TLS, and what to do, from one more handshake."""
    host, options = str(database.get("HOST") or ""), database.get("OPTIONS", {})
    try:
        explanation = _handshake(host, int(database.get("PORT") or 5432), str(options.get("sslrootcert") or ""))
    except ssl.SSLCertVerificationError as fault:
        return _certificate_error(fault.verify_code, host)
    except OSError:  # an SSLError is one too
        return UNKNOWN_TLS_ERROR
    return explanation or UNKNOWN_TLS_ERROR


def _handshake(host: str, port: int, ca_file: str) -> Explanation | None:
    context = ssl.create_default_context()
    if ca_file and ca_file != "system":
        context = ssl.create_default_context(cafile=ca_file)
    with socket.create_connection((host, port), timeout=HANDSHAKE_SECONDS) as raw_socket:
        raw_socket.sendall(SSL_REQUEST)
        if raw_socket.recv(1) != b"S":
            return (
                "the server has no TLS",
                "turn on TLS (on RDS: rds.force_ssl=1), or add ?sslmode=disable to go without",
            )
        with context.wrap_socket(raw_socket, server_hostname=host):
            return None


def _certificate_error(code: int, host: str) -> Explanation:
    if code in {OTHER_HOST, OTHER_ADDRESS}:
        return (
            "the certificate is for another host",
            "use the host name in the certificate; if it is right, check for interception",
        )
    if code == EXPIRED:
        return "the certificate has expired", "renew it, or correct the clock of this machine"
    if code == NOT_YET:
        return "the certificate is not valid yet", "correct the clock of this machine"
    if code == SELF_SIGNED:
        return "the certificate is self-signed", "set DATABASE_CA to a file with that certificate"
    if code in NO_ISSUER and ".rds.amazonaws.com" in host:
        return "the certificate is signed by Amazon RDS", "set DATABASE_CA to a file with Amazon's bundle"
    return "the certificate is signed by an unknown authority", "set DATABASE_CA to a file with that authority"
