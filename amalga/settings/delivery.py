"""How bytes go out: by URLs that S3 checks or, where it stands before the bucket, by URLs that CloudFront checks."""

import re
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.core.exceptions import ImproperlyConfigured
from django.http.request import validate_host

from amalga.settings.environment import as_given, required
from amalga.settings.site import ALLOWED_HOSTS
from amalga.settings.store import OTHER_S3_ORIGIN, S3_ORIGIN

CLOUDFRONT_VARIABLES = ("CLOUDFRONT_DOMAIN", "CLOUDFRONT_KEY_ID", "CLOUDFRONT_PRIVATE_KEY")
_BITS = 2048  # the only size that CloudFront takes (developer guide, "Create key pairs for your signers")
_HOST = re.compile(
    r"(?=.{4,253}(:|$))([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(:\d{2,5})?"
)
_ID = re.compile(r"[A-Z0-9]{4,40}")


def cloudfront() -> dict[str, str] | None:
    """What django-storages is told, or None where S3 itself delivers. All three variables are set, or none."""
    given = [name for name in CLOUDFRONT_VARIABLES if as_given(name).strip()]
    if not given:
        return None
    for name in CLOUDFRONT_VARIABLES:
        if name not in given:
            raise ImproperlyConfigured(f"{name} is not set, but {given[0]} is: set all of CLOUDFRONT_*, or none.")
    return {"custom_domain": _domain(), "cloudfront_key_id": _key_id(), "cloudfront_key": _private_key()}


def _domain() -> str:
    """A host that serves nothing but content: what runs there, should anything ever, has none of our cookies."""
    domain = required("CLOUDFRONT_DOMAIN").lower()
    if not _HOST.fullmatch(domain):
        raise ImproperlyConfigured(
            f"CLOUDFRONT_DOMAIN={domain[:80]} is not usable: it takes a host, d111.cloudfront.net."
        )
    if validate_host(domain.partition(":")[0], [host for host in ALLOWED_HOSTS if host != "*"]):
        raise ImproperlyConfigured(f"CLOUDFRONT_DOMAIN={domain} is in ALLOWED_HOSTS: content takes a host of its own.")
    return domain


def _key_id() -> str:
    key_id = required("CLOUDFRONT_KEY_ID")
    if not _ID.fullmatch(key_id):
        raise ImproperlyConfigured(
            "CLOUDFRONT_KEY_ID is not usable: it takes the ID of a public key, like K2JCJMDEHXQW5F."
        )
    return key_id


def _private_key() -> str:
    """PEM; platforms that keep a variable in one line write its ends of lines as \\n. Never told in a message."""
    text = as_given("CLOUDFRONT_PRIVATE_KEY").replace("\\n", "\n").strip()
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size != _BITS:
        raise ImproperlyConfigured(
            f"CLOUDFRONT_PRIVATE_KEY is not usable: it takes an RSA key of {_BITS} bits as PEM, without a passphrase."
        ) from None
    return text


CLOUDFRONT = cloudfront()
# Where browsers get content from; they send it to the bucket itself.
MAIN_CONTENT_ORIGIN = f"https://{CLOUDFRONT['custom_domain']}" if CLOUDFRONT else S3_ORIGIN
CONTENT_ORIGINS = list(dict.fromkeys([MAIN_CONTENT_ORIGIN, *([OTHER_S3_ORIGIN] if OTHER_S3_ORIGIN else [])]))
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "uploads.s3.DeliveryStorage", "OPTIONS": CLOUDFRONT or {}},
    "staticfiles": {"BACKEND": "uploads.static.StaticStorage"},
}
