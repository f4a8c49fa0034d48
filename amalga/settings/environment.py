"""Reads the environment; nothing else does. What is missing or makes no sense stops the start, by its name."""

from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import Env

env = Env()

MOST_DIGITS = 20
MOST_NAME = 40  # of a store


def required(name: str) -> str:
    value = str(env.str(name, default="")).strip()
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it, or start with `python -m amalga.local` (as `make run` does)."
        )
    return value


def as_given(name: str) -> str:
    """A value in which a leading dollar is just one: django-environ would look for a variable of that name."""
    return str(env.ENVIRON.get(name, ""))


def whole(name: str, default: int, *, least: int, most: int) -> int:
    text = str(env.str(name, default="")).strip() or str(default)
    is_number = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    if not is_number or not least <= int(text) <= most:
        raise ImproperlyConfigured(f"{name}={text[:50]} is not usable: it takes a whole number from {least} to {most}.")
    return int(text)


def switch(name: str, *, default: bool) -> bool:
    text = str(env.str(name, default="")).strip().lower()
    if text not in {"", "on", "off", "true", "false", "yes", "no", "1", "0"}:
        raise ImproperlyConfigured(f"{name}={text} is not usable: it takes on or off.")
    return text in {"on", "true", "yes", "1"} if text else default


def words(name: str) -> list[str]:
    return [word.strip() for word in str(env.str(name, default="")).split(",") if word.strip()]


def web_address(name: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ImproperlyConfigured(f"{name} is not usable: it takes a URL like https://s3.example.org.")


def database(name: str) -> dict[str, Any]:
    """The URL may hold a password: what is wrong with it is told without it."""
    url = required(name)
    try:
        found = dict(env.db_url_config(url)) if urlsplit(url).scheme in {"postgres", "postgresql"} else {}
    except (ValueError, ImproperlyConfigured):
        found = {}
    if not found.get("NAME"):
        raise ImproperlyConfigured(
            f"{name} is not usable: it takes postgres://user:password@host:port/database, odd characters as %XX."
        ) from None
    return found


def checksums(name: str) -> str:
    text = str(env.str(name, default="")).strip() or "sha256"
    if text not in {"sha256", "payload", "off"}:
        raise ImproperlyConfigured(f"{name}={text} is not usable: it takes sha256, payload or off.")
    return text


def store_name(name: str) -> str:
    text = str(env.str(name, default="")).strip()
    if len(text) > MOST_NAME or not text.isprintable():
        raise ImproperlyConfigured(f"{name} is not usable: it takes a word of at most {MOST_NAME} characters.")
    return text
