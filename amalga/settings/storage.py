"""Storage and delivery of files: S3 stores and CloudFront."""

from __future__ import annotations

import re
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.core.exceptions import ImproperlyConfigured
from django.http.request import validate_host

from amalga.settings.base import ALLOWED_HOSTS
from amalga.settings.env import (
    CONDITIONS,
    bucket_owner,
    checksums,
    conditions,
    raw_value,
    required,
    store_name,
    string,
    url,
    validated,
)

# as botocore validates them (validate_region_name, VALID_BUCKET), but names only
REGION = r"(?![0-9]+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
BUCKET = r"[A-Za-z0-9._-]{1,255}"
SECONDARY_S3_VARIABLES = (
    "STORE_NAME", "BUCKET", "ENDPOINT", "REGION", "CHECKSUMS", "CONDITIONS", "BUCKET_OWNER", "ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY",
)  # fmt: skip


def bucket_location(bucket: str, region: str, endpoint: str | None, *, variable: str) -> tuple[str, str]:
    """Return the addressing style of a bucket, and its origin. Other stores than AWS get path style: few have a
    certificate for each bucket name. AWS's own certificate does not cover a bucket with a dot in its name."""
    if endpoint:
        return "path", "{0.scheme}://{0.netloc}".format(url(variable, endpoint))
    virtual = "." not in bucket
    return "virtual" if virtual else "path", f"https://{bucket + '.' if virtual else ''}s3.{region}.amazonaws.com"


def supported_conditions(endpoint: str | None) -> frozenset[str]:
    """Return the default conditions: all for AWS, none for other stores, whose support `doctor` probes."""
    return frozenset() if endpoint else CONDITIONS


def secondary_store() -> tuple[dict[str, Any] | None, str | None]:
    """Return the second store and its origin, if set. Raises ImproperlyConfigured if incomplete or the main one."""
    values = {name: string(f"SECONDARY_S3_{name}") for name in SECONDARY_S3_VARIABLES}
    names = [f"SECONDARY_S3_{name}" for name, text in values.items() if text]
    if not values["BUCKET"]:
        if names:
            raise ImproperlyConfigured(
                f"SECONDARY_S3_BUCKET is not set, but {names[0]} is. Set both, or no SECONDARY_S3_* variable."
            )
        return None, None
    if bool(values["ACCESS_KEY_ID"]) != bool(values["SECRET_ACCESS_KEY"]):
        raise ImproperlyConfigured(
            "Set both SECONDARY_S3_ACCESS_KEY_ID and SECONDARY_S3_SECRET_ACCESS_KEY, or neither."
        )
    name, endpoint = store_name("SECONDARY_S3_STORE_NAME"), values["ENDPOINT"] or None
    if name == S3_STORE_NAME:
        raise ImproperlyConfigured("SECONDARY_S3_STORE_NAME and S3_STORE_NAME must differ.")
    region = validated(
        "SECONDARY_S3_REGION",
        values["REGION"] or S3_REGION,
        REGION,
        expected="the name of a region, such as eu-central-1",
    )
    validated("SECONDARY_S3_BUCKET", values["BUCKET"], BUCKET, expected="the name of a bucket")
    if (values["BUCKET"], (endpoint or "").rstrip("/")) == (S3_BUCKET, (S3_ENDPOINT or "").rstrip("/")):
        raise ImproperlyConfigured("SECONDARY_S3_BUCKET and AWS_STORAGE_BUCKET_NAME must be different buckets.")
    addressing, origin = bucket_location(values["BUCKET"], region, endpoint, variable="SECONDARY_S3_ENDPOINT")
    store = {
        "name": name,
        "bucket": values["BUCKET"],
        "endpoint": endpoint,
        "region": region,
        "addressing": addressing,
        "checksums": checksums("SECONDARY_S3_CHECKSUMS"),
        "conditions": conditions("SECONDARY_S3_CONDITIONS", default=supported_conditions(endpoint)),
        "bucket_owner": bucket_owner("SECONDARY_S3_BUCKET_OWNER"),
        "access_key_id": values["ACCESS_KEY_ID"] or None,
        "secret_access_key": values["SECRET_ACCESS_KEY"] or None,
    }
    return store, origin


def require_complete_key() -> None:
    """Raise ImproperlyConfigured for an incomplete AWS key, which boto3 would only report at the first call, or for a
    key and a profile, of which boto3 would silently use the key."""
    key, secret, token = (string(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    if bool(key) != bool(secret):
        raise ImproperlyConfigured("Set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither.")
    if token and not key:
        raise ImproperlyConfigured("AWS_SESSION_TOKEN is set, but AWS_ACCESS_KEY_ID is not. Set both, or neither.")
    if key and string("AWS_PROFILE"):
        raise ImproperlyConfigured("AWS_PROFILE and AWS_ACCESS_KEY_ID are both set. Remove one of them.")


require_complete_key()
S3_BUCKET = validated(
    "AWS_STORAGE_BUCKET_NAME", required("AWS_STORAGE_BUCKET_NAME"), BUCKET, expected="the name of a bucket"
)
S3_REGION = string("AWS_DEFAULT_REGION") or string("AWS_REGION") or "us-east-1"
validated("AWS_DEFAULT_REGION", S3_REGION, REGION, expected="the name of a region, such as eu-central-1")
S3_ENDPOINT = raw_value("AWS_ENDPOINT_URL_S3") or raw_value("AWS_ENDPOINT_URL") or None
S3_CHECKSUMS = checksums("S3_CHECKSUMS")
S3_CONDITIONS = conditions("S3_CONDITIONS", default=supported_conditions(S3_ENDPOINT))
S3_BUCKET_OWNER = bucket_owner("S3_BUCKET_OWNER")
# The name of this store in the database. Only needed by an installation that has moved, or moves, to another store.
S3_STORE_NAME = store_name("S3_STORE_NAME")
# S3_ORIGIN is the bucket's origin for browsers, a foreign origin in the content security policy.
S3_ADDRESSING, S3_ORIGIN = bucket_location(S3_BUCKET, S3_REGION, S3_ENDPOINT, variable="AWS_ENDPOINT_URL_S3")
# A second store, only while files are moved between the two: its parameters, or None.
SECONDARY_S3, SECONDARY_S3_ORIGIN = secondary_store()
S3_ORIGINS = list(dict.fromkeys([S3_ORIGIN, *([SECONDARY_S3_ORIGIN] if SECONDARY_S3_ORIGIN else [])]))


CLOUDFRONT_VARIABLES = ("CLOUDFRONT_DOMAIN", "CLOUDFRONT_KEY_ID", "CLOUDFRONT_PRIVATE_KEY")
_BITS = 2048  # the only size that CloudFront accepts (developer guide, "Create key pairs for your signers")
_HOST = re.compile(
    r"(?=.{4,253}(:|$))([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(:\d{2,5})?"
)
_ID = re.compile(r"[A-Z0-9]{4,40}")


def cloudfront() -> dict[str, str] | None:
    """Return django-storages' options for CloudFront, or None if S3 itself delivers.

    Raises ImproperlyConfigured unless all three variables are set, or none.
    """
    names = [name for name in CLOUDFRONT_VARIABLES if string(name)]
    if not names:
        return None
    for name in CLOUDFRONT_VARIABLES:
        if name not in names:
            raise ImproperlyConfigured(
                f"{name} is not set, but {names[0]} is. Set all CLOUDFRONT_* variables, or none."
            )
    return {"custom_domain": _domain(), "cloudfront_key_id": _key_id(), "cloudfront_key": _private_key()}


def _domain() -> str:
    """Return a host that serves only content: a script that ran there would not have our cookies."""
    domain = required("CLOUDFRONT_DOMAIN").lower()
    if not _HOST.fullmatch(domain):
        raise ImproperlyConfigured(
            f"CLOUDFRONT_DOMAIN must be a host name, such as d111.cloudfront.net, not “{domain[:80]}”."
        )
    if validate_host(domain.partition(":")[0], [host for host in ALLOWED_HOSTS if host != "*"]):
        raise ImproperlyConfigured(
            f"CLOUDFRONT_DOMAIN must not be in ALLOWED_HOSTS ({domain}): files need their own host name."
        )
    return domain


def _key_id() -> str:
    key_id = required("CLOUDFRONT_KEY_ID")
    if not _ID.fullmatch(key_id):
        raise ImproperlyConfigured("CLOUDFRONT_KEY_ID must be the ID of a public key, such as K2JCJMDEHXQW5F.")
    return key_id


def _private_key() -> str:
    """Return the key as PEM. Some platforms write line breaks as \\n. Error messages never contain the key."""
    text = raw_value("CLOUDFRONT_PRIVATE_KEY").replace("\\n", "\n").strip()
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size != _BITS:
        raise ImproperlyConfigured(
            f"CLOUDFRONT_PRIVATE_KEY must be an RSA key of {_BITS} bits in PEM format, without a passphrase."
        ) from None
    return text


CLOUDFRONT = cloudfront()
# Browsers download content from these origins; they upload to the bucket itself.
MAIN_CONTENT_ORIGIN = f"https://{CLOUDFRONT['custom_domain']}" if CLOUDFRONT else S3_ORIGIN
CONTENT_ORIGINS = list(dict.fromkeys([MAIN_CONTENT_ORIGIN, *([SECONDARY_S3_ORIGIN] if SECONDARY_S3_ORIGIN else [])]))
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "uploads.s3.DownloadStorage", "OPTIONS": CLOUDFRONT or {}},
    "staticfiles": {"BACKEND": "uploads.staticfiles.StaticStorage"},
}
