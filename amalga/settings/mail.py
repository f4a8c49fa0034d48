"""Mail: the server, the sender, and the site's address in links. Error messages never contain EMAIL_URL."""

from __future__ import annotations

import re
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.mail.message import sanitize_address
from django.core.validators import validate_email
from django.http.request import validate_host

from amalga.settings.base import ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS, HTTPS
from amalga.settings.env import string, url

# Scheme: its usual port, STARTTLS, and TLS from the first byte.
SCHEMES = {"smtp": (25, False, False), "smtp+tls": (587, True, False), "smtp+ssl": (465, False, True)}
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]+")


def mail_server(text: str) -> tuple[str, int, str, str, bool, bool]:
    """Return host, port, user, password, and whether to use STARTTLS or TLS."""
    if not text:
        return "", 25, "", "", False, False
    try:
        parts = urlsplit(text)
        port = parts.port
        host_fits = HOST.fullmatch(parts.hostname or "")
        usable = bool(parts.scheme in SCHEMES and host_fits and port != 0 and parts.path in {"", "/"})
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ImproperlyConfigured(
            "EMAIL_URL must be smtp+tls://user:password@host:port (STARTTLS), smtp+ssl://… (TLS) or smtp://…, with "
            "special characters of the password as %XX."
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    printable_ascii = (user + password).isascii() and (user + password).isprintable()
    if bool(user) != bool(password) or not printable_ascii:
        raise ImproperlyConfigured("EMAIL_URL must have both a user and a password, in ASCII characters, or neither.")
    usual_port, starttls, tls = SCHEMES[parts.scheme]
    return str(parts.hostname), port or usual_port, user, password, starttls, tls


def sender() -> str:
    """Return DEFAULT_FROM_EMAIL, an address with or without a name. Required with EMAIL_URL, and of no use without."""
    text = string("DEFAULT_FROM_EMAIL")
    if not text:
        if EMAIL_IS_CONFIGURED:
            raise ImproperlyConfigured("DEFAULT_FROM_EMAIL is not set, but EMAIL_URL is: set both, or neither.")
        return ""
    if not EMAIL_IS_CONFIGURED:
        raise ImproperlyConfigured("EMAIL_URL is not set, but DEFAULT_FROM_EMAIL is: set both, or neither.")
    try:
        validate_email(parseaddr(text)[1])
        sanitize_address(text, "utf-8")
        usable = text.isprintable()
    except (ValidationError, ValueError):
        usable = False
    if not usable:
        raise ImproperlyConfigured(
            "DEFAULT_FROM_EMAIL must be an address like files@example.org or Files <files@example.org>."
        )
    return text


def site_url() -> str:
    """Return the origin of the site for links, without a slash at the end.

    It is SITE_URL, else the first of CSRF_TRUSTED_ORIGINS, which a proxy in front of the site makes necessary, else the
    first host of ALLOWED_HOSTS. "" without any.
    """
    if text := string("SITE_URL"):
        return _validated_origin(text)
    for origin in CSRF_TRUSTED_ORIGINS:
        if "*" not in origin and (origin.startswith("https://") or not HTTPS):
            return origin
    for host in ALLOWED_HOSTS:
        if not host.startswith(("*", ".")):
            # without HTTPS there is no proxy, and people use gunicorn's port
            return f"https://{host}" if HTTPS else f"http://{host}:{string('PORT') or 8000}"
    if EMAIL_IS_CONFIGURED:
        raise ImproperlyConfigured("SITE_URL is not set, and links in mails need it: ALLOWED_HOSTS names no host.")
    return ""


def _validated_origin(text: str) -> str:
    parts = url("SITE_URL", text)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username:
        raise ImproperlyConfigured("SITE_URL must be an origin like https://files.example.org, with nothing after it.")
    if HTTPS and parts.scheme != "https":
        raise ImproperlyConfigured("SITE_URL must begin with https://, unless HTTPS is off.")
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    if not validate_host(str(parts.hostname), ALLOWED_HOSTS) and origin not in CSRF_TRUSTED_ORIGINS:
        raise ImproperlyConfigured("SITE_URL must have a host of ALLOWED_HOSTS, or be one of CSRF_TRUSTED_ORIGINS.")
    return origin


_EMAIL_URL = string("EMAIL_URL")  # not a setting: Django's debug pages would show it
EMAIL_IS_CONFIGURED = bool(_EMAIL_URL)
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_IS_CONFIGURED else 'dummy'}.EmailBackend"
EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_USE_SSL = mail_server(_EMAIL_URL)
EMAIL_TIMEOUT = 10  # seconds to connect, and for each answer
DEFAULT_FROM_EMAIL = sender()
SITE_URL = site_url()
