"""Connection and TLS parameters of Postgres from the environment; contradictory variables are errors."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.db.passwords import is_common_password
from amalga.hosts import is_loopback
from amalga.settings.env import database, integer, raw_value, required

PARTS = ("HOST", "PORT", "NAME", "USER", "PASSWORD")
REQUIRED_PARTS = ("HOST", "NAME", "USER")
MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
VERIFYING_MODES = {"verify-ca", "verify-full"}
SYSTEM = "system"
# where distributions keep the trusted root certificates
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def primary(*, iam: bool) -> dict[str, Any]:
    """Return the primary from DATABASE_URL, or from its parts, as an RDS secret has them."""
    parts = [f"DATABASE_{part}" for part in PARTS if raw_value(f"DATABASE_{part}").strip()]
    if raw_value("DATABASE_URL").strip():
        if parts:
            raise ImproperlyConfigured(f"DATABASE_URL and {parts[0]} are both set: keep one of them.")
        return require_verified_tls("DATABASE_URL", database("DATABASE_URL"), iam=iam)
    if not parts:
        required("DATABASE_URL")
    return require_verified_tls("DATABASE_HOST", _from_parts(), iam=iam)


def replica(primary_server: dict[str, Any], *, iam: bool) -> dict[str, Any] | None:
    """Return the replica from READ_DATABASE_URL, or the primary with READ_DATABASE_HOST; None without both."""
    url, host = raw_value("READ_DATABASE_URL").strip(), raw_value("READ_DATABASE_HOST").strip()
    if url and host:
        raise ImproperlyConfigured("READ_DATABASE_URL and READ_DATABASE_HOST are both set: keep one of them.")
    if not url and not host:
        return None
    name = "READ_DATABASE_URL" if url else "READ_DATABASE_HOST"
    server = database(name) if url else {**primary_server, "HOST": host, "OPTIONS": dict(primary_server["OPTIONS"])}
    if _address(server) == _address(primary_server):
        raise ImproperlyConfigured(f"{name} is the database itself: it takes the address of a replica, or nothing.")
    return require_verified_tls(name, server, iam=iam) if url else server


def _from_parts() -> dict[str, Any]:
    for part in REQUIRED_PARTS:
        required(f"DATABASE_{part}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": raw_value("DATABASE_HOST").strip(),
        "PORT": integer("DATABASE_PORT", 5432, minimum=1, maximum=65535),
        "NAME": raw_value("DATABASE_NAME").strip(),
        "USER": raw_value("DATABASE_USER").strip(),
        "PASSWORD": raw_value("DATABASE_PASSWORD"),
    }


def require_verified_tls(name: str, server: dict[str, Any], *, iam: bool) -> dict[str, Any]:
    """Return the parameters with verified TLS, which a server on another host must have."""
    options = dict(server.get("OPTIONS", {}))
    _require_known_mode(name, options)
    authorities = raw_value("DATABASE_CA").strip()
    if authorities and "sslrootcert" in options:
        raise ImproperlyConfigured(f"DATABASE_CA and sslrootcert in {name} are both set: keep DATABASE_CA.")
    if authorities or not is_loopback(server["HOST"]):
        mode = options.setdefault("sslmode", "verify-full")
        if authorities and mode not in VERIFYING_MODES:
            raise ImproperlyConfigured(f"DATABASE_CA is set, and sslmode={mode} in {name} asks for no proof: drop it.")
        if mode in VERIFYING_MODES:
            options.setdefault("sslrootcert", _certificate_file(authorities))
    _require_safe_credentials(name, server, options, iam=iam)
    return {**server, "OPTIONS": options}


def _require_known_mode(name: str, options: dict[str, Any]) -> None:
    mode = options.get("sslmode", "prefer")
    if mode not in MODES:
        raise ImproperlyConfigured(f"sslmode={str(mode)[:20]} in {name} is not usable: it takes verify-full.")


def _require_safe_credentials(name: str, server: dict[str, Any], options: dict[str, Any], *, iam: bool) -> None:
    user, password = str(server.get("USER") or ""), str(server.get("PASSWORD") or "")
    if iam and password:
        raise ImproperlyConfigured(f"DATABASE_IAM is on, and {name} comes with a password: keep one of them.")
    if iam and (not user or not server["HOST"] or "," in server["HOST"]):
        raise ImproperlyConfigured(f"DATABASE_IAM is on, and {name} does not name a user and one host.")
    if iam and options.get("sslmode") not in VERIFYING_MODES:
        raise ImproperlyConfigured(f"DATABASE_IAM is on: {name} takes sslmode=verify-full, or any server is shown it.")
    if not is_loopback(server["HOST"]) and is_common_password(user, password):
        raise ImproperlyConfigured(
            f"{name} is not usable: its password is one that everybody tries first. Give the role one of its own."
        )


def _certificate_file(authorities: str) -> str:
    """Return the file with root certificates, by default the system's: libpq with a bundled OpenSSL, as in psycopg,
    does not find them by itself."""
    if not authorities or authorities == SYSTEM:
        paths = [ssl.get_default_verify_paths().cafile, *AUTHORITIES]
        return next((path for path in paths if path and Path(path).is_file()), SYSTEM)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(authorities)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = "there are no certificates in it" if isinstance(error, ssl.SSLError) else "it cannot be read"
        raise ImproperlyConfigured(f"DATABASE_CA={authorities[:200]} is not usable: {reason}.") from None
    return authorities


def _address(server: dict[str, Any]) -> tuple[str, int, str]:
    return str(server["HOST"]).lower(), int(server.get("PORT") or 5432), server["NAME"]
