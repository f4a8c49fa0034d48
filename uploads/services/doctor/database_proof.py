"""Why a server's certificate proves nothing. libpq only says that it failed: here the same handshake tells more."""

from __future__ import annotations

import socket
import ssl
from typing import Any

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL documentation, "Message Formats"
HANDSHAKE_SECONDS = 3.0
# X509_V_ERR_* of OpenSSL's x509_vfy.h
NOT_YET, EXPIRED, SELF_SIGNED, OTHER_HOST, OTHER_ADDRESS = 9, 10, 18, 62, 64
NO_ISSUER = {2, 19, 20, 21}

Told = tuple[str, str]
UNKNOWN: Told = ("TLS cannot be agreed on, or its certificate proves nothing", "look at sslmode and DATABASE_CA")


def why_no_proof(place: dict[str, Any]) -> Told:
    """What is wrong with it, and what to do."""
    host, options = str(place.get("HOST") or ""), place.get("OPTIONS", {})
    try:
        told = _handshake(host, int(place.get("PORT") or 5432), str(options.get("sslrootcert") or ""))
    except ssl.SSLCertVerificationError as fault:
        return _in_words(fault.verify_code, host)
    except OSError:  # an SSLError is one too
        return UNKNOWN
    return told or UNKNOWN


def _handshake(host: str, port: int, authorities: str) -> Told | None:
    context = ssl.create_default_context()
    if authorities and authorities != "system":
        context = ssl.create_default_context(cafile=authorities)
    with socket.create_connection((host, port), timeout=HANDSHAKE_SECONDS) as plain:
        plain.sendall(SSL_REQUEST)
        if plain.recv(1) != b"S":
            return (
                "it speaks no TLS",
                "let it (RDS: rds.force_ssl=1), or add ?sslmode=disable on purpose",
            )
        with context.wrap_socket(plain, server_hostname=host):
            return None


def _in_words(code: int, host: str) -> Told:
    if code in {OTHER_HOST, OTHER_ADDRESS}:
        return "its certificate is for another host", "ask it by the name in its certificate; or somebody is in between"
    if code == EXPIRED:
        return "its certificate has expired", "renew it, and look at this machine's clock"
    if code == NOT_YET:
        return "its certificate is not valid yet", "look at this machine's clock"
    if code == SELF_SIGNED:
        return "its certificate is signed by itself alone", "name a file with that certificate by DATABASE_CA"
    if code in NO_ISSUER and ".rds.amazonaws.com" in host:
        return "its certificate is signed by Amazon's RDS", "name a file with Amazon's bundle by DATABASE_CA"
    return "its certificate is signed by nobody we know", "name a file with its authority's by DATABASE_CA"
