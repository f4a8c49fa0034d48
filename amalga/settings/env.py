"""The only reader of environment variables. Missing and invalid variables stop the start with their name."""

import ipaddress
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import Env

MAX_DIGITS = 20
MAX_NAME = 40  # of a store
CONDITIONS = frozenset({"complete", "copy", "delete"})


# Variables that gunicorn, boto3, Django and the local servers read.
EXTERNAL_VARIABLES = {
    "PORT", "WEB_CONCURRENCY", "WEB_THREADS", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS", "PROBE_BIND",
    "PROMETHEUS_MULTIPROC_DIR",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "DJANGO_SETTINGS_MODULE", "LOCAL_POSTGRES_PORT", "LOCAL_S3_PORT",
    "LOCAL_FOLDER", "LOCAL_SUPERUSER_URL",
}  # fmt: skip
# boto3 has one of these for each AWS service.
_ENDPOINT = re.compile(r"AWS_ENDPOINT_URL_[A-Z0-9_]{2,}")
# Shorter names are similar to too many others.
MIN_NAME_LENGTH = 8
# SECRETKEY, DATABSE_URL, UPLOAD_QUOTA_BYTE; but not UPLOAD_MAX_SIZE
MIN_SIMILARITY = 0.87


class TrackingEnv(Env):  # type: ignore[misc]  # it has no types
    """Reads variables like django-environ, and records their names.

    A value that begins with a dollar is returned unchanged: django-environ would use it as the name of another
    variable, and show it in the error message.
    """

    names_read: ClassVar[set[str]] = set()

    def str(self, var: str, default: Any = "", multiline: bool = False) -> Any:
        self.names_read.add(var)
        return self.ENVIRON.get(var, default)


env = TrackingEnv()


def required(name: str) -> str:
    value = string(name)
    if not value:
        if wrong := next((other for other in sorted(env.ENVIRON) if _closest_name(other, [name])), None):
            raise ImproperlyConfigured(f"{name} is not set, but {wrong} is. Rename it.")
        raise ImproperlyConfigured(
            f"{name} is not set. Set it, or start Amalga with `make run`, which needs no settings."
        )
    return value


def string(name: str) -> str:
    return raw_value(name).strip()


def raw_value(name: str) -> str:
    return str(env.str(name, default=""))


def reject_misspelled() -> None:
    """Raise ImproperlyConfigured for a misspelled optional variable. Call it after all settings are read.

    If the correct variable is set too, the other one belongs to another program.
    """
    for wrong in sorted(env.ENVIRON):
        correct = _closest_name(wrong, env.names_read | EXTERNAL_VARIABLES)
        if correct and not env.ENVIRON.get(correct):
            raise ImproperlyConfigured(f"Unknown variable {wrong}. Did you mean {correct}?")


def unknown_variables(*prefixes: str) -> list[str]:
    """Return the variables with these prefixes that are never read."""
    return sorted(name for name in env.ENVIRON if name.startswith(prefixes) and not _is_declared(name))


def _closest_name(wrong: str, names: Iterable[str]) -> str | None:
    """Return the name that is most similar to an unknown variable; None without one."""
    if _is_declared(wrong):
        return None
    matches = get_close_matches(
        wrong.upper(), [name for name in names if len(name) >= MIN_NAME_LENGTH], n=1, cutoff=MIN_SIMILARITY
    )
    return matches[0] if matches else None


def _is_declared(name: str) -> bool:
    return name in env.names_read | EXTERNAL_VARIABLES or bool(_ENDPOINT.fullmatch(name))


def integer(name: str, default: int, *, minimum: int, maximum: int) -> int:
    text = string(name) or str(default)
    is_number = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not is_number or not minimum <= int(text) <= maximum:
        raise ImproperlyConfigured(f"{name} must be an integer between {minimum} and {maximum}, not “{text[:50]}”.")
    return int(text)


def boolean(name: str, *, default: bool) -> bool:
    text = string(name).lower()
    if text not in {"", "on", "off", "true", "false", "yes", "no", "1", "0"}:
        raise ImproperlyConfigured(f"{name} must be on or off, not “{text[:50]}”.")
    return text in {"on", "true", "yes", "1"} if text else default


def string_list(name: str) -> list[str]:
    return [word.strip() for word in raw_value(name).split(",") if word.strip()]


def url(name: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ImproperlyConfigured(f"{name} must be a URL like https://s3.example.org.")


def database(name: str) -> dict[str, Any]:
    """Return the parsed database URL. Error messages leave out the URL, which can contain a password."""
    url = required(name)
    try:
        config = dict(env.db_url_config(url)) if urlsplit(url).scheme in {"postgres", "postgresql"} else {}
    except (ValueError, ImproperlyConfigured):
        config = {}
    if not config.get("NAME"):
        raise ImproperlyConfigured(
            f"{name} must be like postgres://user:password@host:port/database, with special characters as %XX."
        ) from None
    return config


def choice(name: str, default: str, *values: str) -> str:
    text = string(name).lower() or default
    if text not in values:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(values)}, not “{text[:50]}”.")
    return text


def checksums(name: str) -> str:
    return choice(name, "sha256", "sha256", "payload", "off")


def conditions(name: str, *, default: frozenset[str]) -> frozenset[str]:
    """Return which requests to storage are conditional."""
    words = {word.lower() for word in string_list(name)}
    if words == {"off"}:
        return frozenset()
    if not words <= CONDITIONS:
        raise ImproperlyConfigured(
            f"{name} must be a list of complete, copy and delete, or off, not “{','.join(sorted(words))[:50]}”."
        )
    return frozenset(words) or default


def bucket_owner(name: str) -> str:
    text = string(name)
    return validated(name, text, r"([0-9]{12})?", expected="the 12 digits of an AWS account ID")


def store_name(name: str) -> str:
    text = string(name)
    if len(text) > MAX_NAME or not text.isprintable():
        raise ImproperlyConfigured(f"{name} must be at most {MAX_NAME} printable characters.")
    return text


def validated(name: str, text: str, pattern: str, *, expected: str) -> str:
    """Return `text` if all of it matches `pattern`. Raises ImproperlyConfigured; `expected` describes valid values."""
    if not re.fullmatch(pattern, text):
        raise ImproperlyConfigured(f"{name} must be {expected}, not “{text[:50]}”.")
    return text


def networks(name: str) -> list[str]:
    """Return IP addresses, networks, or * for all."""
    words = string_list(name)
    for word in words:
        try:
            _ = word == "*" or ipaddress.ip_network(word, strict=False)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} must be addresses like 10.0.0.1 or 10.0.0.0/16, separated by commas, or *, not “{word[:50]}”."
            ) from None
    return words


def is_loopback(host: str | None) -> bool:
    """Return whether a server is on this machine: a socket, `localhost`, or a loopback address."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
