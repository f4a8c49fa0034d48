"""Where Postgres is, and how it proves who it is, as the variables say; what contradicts itself is refused."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.db.passwords import is_common_password
from amalga.hosts import is_loopback
from amalga.settings.env import database, integer, raw_value, required

PARTS = ("HOST", "PORT", "NAME", "USER", "PASSWORD")
NEEDED = ("HOST", "NAME", "USER")
MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
VERIFYING_MODES = {"verify-ca", "verify-full"}
SYSTEM = "system"
# where distributions keep the certificates that everybody trusts
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def primary(*, iam: bool) -> dict[str, Any]:
    """From DATABASE_URL, or from its parts, as a secret of RDS holds them."""
    given = [f"DATABASE_{part}" for part in PARTS if raw_value(f"DATABASE_{part}").strip()]
    if raw_value("DATABASE_URL").strip():
        if given:
            raise ImproperlyConfigured(f"DATABASE_URL and {given[0]} are both set: keep one of them.")
        return require_verified_tls("DATABASE_URL", database("DATABASE_URL"), iam=iam)
    if not given:
        required("DATABASE_URL")
    return require_verified_tls("DATABASE_HOST", _from_parts(), iam=iam)


def replica(main: dict[str, Any], *, iam: bool) -> dict[str, Any] | None:
    """READ_DATABASE_HOST is all that differs from the primary, where its URL is not told as a whole."""
    url, host = raw_value("READ_DATABASE_URL").strip(), raw_value("READ_DATABASE_HOST").strip()
    if url and host:
        raise ImproperlyConfigured("READ_DATABASE_URL and READ_DATABASE_HOST are both set: keep one of them.")
    if not url and not host:
        return None
    name = "READ_DATABASE_URL" if url else "READ_DATABASE_HOST"
    place = database(name) if url else {**main, "HOST": host, "OPTIONS": dict(main["OPTIONS"])}
    if _address(place) == _address(main):
        raise ImproperlyConfigured(f"{name} is the database itself: it takes the address of a replica, or nothing.")
    return require_verified_tls(name, place, iam=iam) if url else place


def _from_parts() -> dict[str, Any]:
    for part in NEEDED:
        required(f"DATABASE_{part}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": raw_value("DATABASE_HOST").strip(),
        "PORT": integer("DATABASE_PORT", 5432, least=1, most=65535),
        "NAME": raw_value("DATABASE_NAME").strip(),
        "USER": raw_value("DATABASE_USER").strip(),
        "PASSWORD": raw_value("DATABASE_PASSWORD"),
    }


def require_verified_tls(name: str, place: dict[str, Any], *, iam: bool) -> dict[str, Any]:
    """As it is to be asked: a server elsewhere proves by its certificate that it is the one that was meant."""
    options = dict(place.get("OPTIONS", {}))
    _refuse_mode(name, options)
    authorities = raw_value("DATABASE_CA").strip()
    if authorities and "sslrootcert" in options:
        raise ImproperlyConfigured(f"DATABASE_CA and sslrootcert in {name} are both set: keep DATABASE_CA.")
    if authorities or not is_loopback(place["HOST"]):
        mode = options.setdefault("sslmode", "verify-full")
        if authorities and mode not in VERIFYING_MODES:
            raise ImproperlyConfigured(f"DATABASE_CA is set, and sslmode={mode} in {name} asks for no proof: drop it.")
        if mode in VERIFYING_MODES:
            options.setdefault("sslrootcert", _file_of(authorities))
    _refuse_credentials(name, place, options, iam=iam)
    return {**place, "OPTIONS": options}


def _refuse_mode(name: str, options: dict[str, Any]) -> None:
    mode = options.get("sslmode", "prefer")
    if mode not in MODES:
        raise ImproperlyConfigured(f"sslmode={str(mode)[:20]} in {name} is not usable: it takes verify-full.")


def _refuse_credentials(name: str, place: dict[str, Any], options: dict[str, Any], *, iam: bool) -> None:
    user, password = str(place.get("USER") or ""), str(place.get("PASSWORD") or "")
    if iam and password:
        raise ImproperlyConfigured(f"DATABASE_IAM is on, and {name} comes with a password: keep one of them.")
    if iam and (not user or not place["HOST"] or "," in place["HOST"]):
        raise ImproperlyConfigured(f"DATABASE_IAM is on, and {name} does not name a user and one host.")
    if iam and options.get("sslmode") not in VERIFYING_MODES:
        raise ImproperlyConfigured(f"DATABASE_IAM is on: {name} takes sslmode=verify-full, or any server is shown it.")
    if not is_loopback(place["HOST"]) and is_common_password(user, password):
        raise ImproperlyConfigured(
            f"{name} is not usable: its password is one that everybody tries first. Give the role one of its own."
        )


def _file_of(authorities: str) -> str:
    """A file with certificates. Without one: those of the system, which libpq does not find by itself where it comes
    with an OpenSSL of its own, as psycopg's does."""
    if not authorities or authorities == SYSTEM:
        known = [ssl.get_default_verify_paths().cafile, *AUTHORITIES]
        return next((path for path in known if path and Path(path).is_file()), SYSTEM)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(authorities)
    except (OSError, ValueError) as fault:  # an SSLError is an OSError
        why = "there are no certificates in it" if isinstance(fault, ssl.SSLError) else "it cannot be read"
        raise ImproperlyConfigured(f"DATABASE_CA={authorities[:200]} is not usable: {why}.") from None
    return authorities


def _address(place: dict[str, Any]) -> tuple[str, int, str]:
    return str(place["HOST"]).lower(), int(place.get("PORT") or 5432), place["NAME"]
