"""Postgres from the environment: connection and TLS parameters, and timeouts. Contradictory variables are errors."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.db import Connection, ReplicaConnection, ReplicaTokenConnection, TokenConnection
from amalga.settings.base import WEB_THREADS, cookie_name
from amalga.settings.env import boolean, database, integer, is_loopback, raw_value, required, string

PARTS = ("HOST", "PORT", "NAME", "USER", "PASSWORD")
REQUIRED_PARTS = ("HOST", "NAME", "USER")
MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
VERIFYING_MODES = {"verify-ca", "verify-full"}
SYSTEM = "system"
# where distributions keep the trusted root certificates
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
# defaults of images, tutorials and control panels, which attackers try first
COMMON_PASSWORDS = {
    "postgres",
    "password",
    "admin",
    "root",
    "secret",
    "changeme",
    "example",
    "amalga",
    "123456",
    "test",
}


def primary(*, iam: bool) -> dict[str, Any]:
    """Return the primary from DATABASE_URL, or from its parts, as an RDS secret has them."""
    parts = [f"DATABASE_{part}" for part in PARTS if string(f"DATABASE_{part}")]
    if string("DATABASE_URL"):
        if parts:
            raise ImproperlyConfigured(f"DATABASE_URL and {parts[0]} are both set. Remove one of them.")
        return require_verified_tls("DATABASE_URL", database("DATABASE_URL"), iam=iam)
    if not parts:
        required("DATABASE_URL")
    return require_verified_tls("DATABASE_HOST", _from_parts(), iam=iam)


def replica(primary_server: dict[str, Any], *, iam: bool) -> dict[str, Any] | None:
    """Return the replica from READ_DATABASE_URL, or the primary with READ_DATABASE_HOST; None without both."""
    url, host = string("READ_DATABASE_URL"), string("READ_DATABASE_HOST")
    if url and host:
        raise ImproperlyConfigured("READ_DATABASE_URL and READ_DATABASE_HOST are both set. Remove one of them.")
    if not url and not host:
        return None
    name = "READ_DATABASE_URL" if url else "READ_DATABASE_HOST"
    server = database(name) if url else {**primary_server, "HOST": host, "OPTIONS": dict(primary_server["OPTIONS"])}
    if _address(server) == _address(primary_server):
        raise ImproperlyConfigured(f"{name} must be a replica, not the database of DATABASE_URL.")
    return require_verified_tls(name, server, iam=iam) if url else server


def _from_parts() -> dict[str, Any]:
    for part in REQUIRED_PARTS:
        required(f"DATABASE_{part}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": string("DATABASE_HOST"),
        "PORT": integer("DATABASE_PORT", 5432, minimum=1, maximum=65535),
        "NAME": string("DATABASE_NAME"),
        "USER": string("DATABASE_USER"),
        "PASSWORD": raw_value("DATABASE_PASSWORD"),
    }


def require_verified_tls(name: str, server: dict[str, Any], *, iam: bool) -> dict[str, Any]:
    """Return the parameters with verified TLS, which a server on another host must have."""
    options = dict(server.get("OPTIONS", {}))
    _require_known_mode(name, options)
    authorities = string("DATABASE_CA")
    if authorities and "sslrootcert" in options:
        raise ImproperlyConfigured(f"DATABASE_CA and sslrootcert in {name} are both set. Remove sslrootcert.")
    if authorities or not is_loopback(server["HOST"]):
        mode = options.setdefault("sslmode", "verify-full")
        if authorities and mode not in VERIFYING_MODES:
            raise ImproperlyConfigured(
                f"DATABASE_CA is set, but sslmode={mode} in {name} turns verification off. Remove sslmode."
            )
        if mode in VERIFYING_MODES:
            options.setdefault("sslrootcert", _certificate_file(authorities))
    _require_safe_credentials(name, server, options, iam=iam)
    return {**server, "OPTIONS": options}


def _require_known_mode(name: str, options: dict[str, Any]) -> None:
    mode = options.get("sslmode", "prefer")
    if mode not in MODES:
        raise ImproperlyConfigured(f"sslmode in {name} must be verify-full, not “{str(mode)[:20]}”.")


def _require_safe_credentials(name: str, server: dict[str, Any], options: dict[str, Any], *, iam: bool) -> None:
    user, password = str(server.get("USER") or ""), str(server.get("PASSWORD") or "")
    if iam and password:
        raise ImproperlyConfigured(f"DATABASE_IAM is on, but {name} has a password. Remove one of them.")
    if iam and (not user or not server["HOST"] or "," in server["HOST"]):
        raise ImproperlyConfigured(f"DATABASE_IAM is on, so {name} must have a user and exactly one host.")
    if iam and options.get("sslmode") not in VERIFYING_MODES:
        raise ImproperlyConfigured(
            f"DATABASE_IAM is on, so sslmode in {name} must be verify-full: other servers could read the token."
        )
    if not is_loopback(server["HOST"]) and is_common_password(user, password):
        raise ImproperlyConfigured(f"The password in {name} is too common. Set another one for the database role.")


def _certificate_file(authorities: str) -> str:
    """Return the file with root certificates, by default the system's: libpq with a bundled OpenSSL, as in psycopg,
    does not find them by itself."""
    if not authorities or authorities == SYSTEM:
        paths = [ssl.get_default_verify_paths().cafile, *AUTHORITIES]
        return next((path for path in paths if path and Path(path).is_file()), SYSTEM)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(authorities)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = "has no certificates" if isinstance(error, ssl.SSLError) else "cannot be read"
        raise ImproperlyConfigured(
            f"DATABASE_CA must be a file with certificates: {authorities[:200]} {reason}."
        ) from None
    return authorities


def _address(server: dict[str, Any]) -> tuple[str, int, str]:
    return str(server["HOST"]).lower(), int(server.get("PORT") or 5432), server["NAME"]


def is_common_password(user: str, password: str) -> bool:
    """Return whether the password is a common one, or the name of the user."""
    return bool(password) and password.lower() in {*COMMON_PASSWORDS, user.lower()}


# An IAM token of the role that we run as, instead of a password; and whether a pooler (pgbouncer) is in between, which
# gives each transaction another connection.
DATABASE_IAM = boolean("DATABASE_IAM", default=False)
DATABASE_POOLER = boolean("DATABASE_POOLER", default=False)
# The maximum for each process: one for each thread, and as many again that are being replaced.
DATABASE_CONNECTIONS = integer("DATABASE_CONNECTIONS", max(16, 2 * WEB_THREADS), minimum=1, maximum=1000)
if DATABASE_CONNECTIONS < WEB_THREADS:
    raise ImproperlyConfigured(
        f"DATABASE_CONNECTIONS ({DATABASE_CONNECTIONS}) must be at least WEB_THREADS ({WEB_THREADS}): each thread "
        "needs a connection."
    )

# connect + statement stay below the ten seconds after which a person gets 503.
# The last two settings describe lists to the planner: a page reads a few rows in index order, scattered over the table
# and not cached, from a disk without seek times. By default it estimates a page as a share of reading everything.
POSTGRES_OPTIONS = (
    "-c statement_timeout=8s -c lock_timeout=4s -c idle_in_transaction_session_timeout=15s"
    " -c random_page_cost=1.1 -c effective_cache_size=256MB"
)


def connection_options(
    server: dict[str, Any], connection_class: type[Connection], *, extra: str = ""
) -> dict[str, Any]:
    """Return the DATABASES entry of a server; `extra`: more libpq `-c` options for its connections."""
    options = {
        **server["OPTIONS"],
        "connect_timeout": 3,
        # firewalls drop idle connections (AWS after 350 seconds), and keepalives detect dead servers
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "pool": {
            "connection_class": connection_class,
            "min_size": 1,
            "max_size": DATABASE_CONNECTIONS,
            # short: with 8 threads and 16 connections a request only waits for a database that is unavailable, and
            # blocks a thread for the next request
            "timeout": 2,
            "reconnect_timeout": 2,
        },
    }
    if not DATABASE_POOLER:  # a pooler rejects or drops these: there the role has the limits (docs/operate/database.md)
        options["options"] = " ".join(filter(None, [options.get("options"), POSTGRES_OPTIONS, extra]))
    return {
        **server,
        "OPTIONS": options,
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


_primary_server = primary(iam=DATABASE_IAM)
_replica_server = replica(_primary_server, iam=DATABASE_IAM)
DATABASES: dict[str, dict[str, Any]] = {
    "default": connection_options(_primary_server, TokenConnection if DATABASE_IAM else Connection)
}
# The replica for lists and searches (amalga/db/replica.py), if there is one.
DATABASE_ROUTERS: list[str] = []
LSN_COOKIE_NAME = cookie_name("amalga-lsn")
if _replica_server:
    connection_class = ReplicaTokenConnection if DATABASE_IAM else ReplicaConnection
    DATABASES["replica"] = connection_options(
        _replica_server, connection_class, extra="-c default_transaction_read_only=on"
    )
    DATABASES["replica"]["TEST"] = {"MIRROR": "default"}
    DATABASE_ROUTERS = ["amalga.db.replica.ReplicaRouter"]
