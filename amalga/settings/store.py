"""The bucket, and a second one while files move."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.settings.environment import (
    CONDITIONS,
    as_given,
    bucket_owner,
    checksums,
    conditions,
    env,
    matching,
    required,
    store_name,
    web_address,
)

# as botocore takes them (validate_region_name, VALID_BUCKET), without what is no name
REGION = r"(?![0-9]+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
BUCKET = r"[A-Za-z0-9._-]{1,255}"
OTHER_S3_VARIABLES = (
    "STORE_NAME", "BUCKET", "ENDPOINT", "REGION", "CHECKSUMS", "CONDITIONS", "BUCKET_OWNER", "ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY",
)  # fmt: skip


def bucket_place(bucket: str, region: str, endpoint: str | None, *, variable: str) -> tuple[str, str]:
    """How the bucket is addressed, and its origin. Other stores than AWS are asked by path: few own a certificate
    for each bucket's name. Nor does AWS's own certificate cover a bucket with a dot in its name."""
    if endpoint:
        return "path", "{0.scheme}://{0.netloc}".format(web_address(variable, endpoint))
    virtual = "." not in bucket
    return "virtual" if virtual else "path", f"https://{bucket + '.' if virtual else ''}s3.{region}.amazonaws.com"


def known_conditions(endpoint: str | None) -> frozenset[str]:
    """AWS knows them all; other stores do, some of them, or none, which `doctor` finds out."""
    return frozenset() if endpoint else CONDITIONS


def other_store() -> tuple[dict[str, Any] | None, str | None]:
    """The second store and its origin, for as long as it is set. Half of one, or the first one again, is refused."""
    told = {name: str(env.str(f"OTHER_S3_{name}", default="")).strip() for name in OTHER_S3_VARIABLES}
    given = [f"OTHER_S3_{name}" for name, text in told.items() if text]
    if not told["BUCKET"]:
        if given:
            raise ImproperlyConfigured(
                f"OTHER_S3_BUCKET is not set, but {given[0]} is: set both, or none of OTHER_S3_*."
            )
        return None, None
    if bool(told["ACCESS_KEY_ID"]) != bool(told["SECRET_ACCESS_KEY"]):
        raise ImproperlyConfigured(
            "OTHER_S3_ACCESS_KEY_ID and OTHER_S3_SECRET_ACCESS_KEY go together: set both, or none."
        )
    name, endpoint = store_name("OTHER_S3_STORE_NAME"), told["ENDPOINT"] or None
    if name == S3_STORE_NAME:
        raise ImproperlyConfigured(
            "OTHER_S3_STORE_NAME is the name of the main store too (S3_STORE_NAME): they must differ."
        )
    region = matching("OTHER_S3_REGION", told["REGION"] or S3_REGION, REGION, takes="the name of a region")
    matching("OTHER_S3_BUCKET", told["BUCKET"], BUCKET, takes="the name of a bucket and no more")
    if (told["BUCKET"], (endpoint or "").rstrip("/")) == (S3_BUCKET, (S3_ENDPOINT or "").rstrip("/")):
        raise ImproperlyConfigured("OTHER_S3_BUCKET is the bucket of AWS_STORAGE_BUCKET_NAME: it must be another one.")
    addressing, origin = bucket_place(told["BUCKET"], region, endpoint, variable="OTHER_S3_ENDPOINT")
    store = {
        "name": name,
        "bucket": told["BUCKET"],
        "endpoint": endpoint,
        "region": region,
        "addressing": addressing,
        "checksums": checksums("OTHER_S3_CHECKSUMS"),
        "conditions": conditions("OTHER_S3_CONDITIONS", default=known_conditions(endpoint)),
        "bucket_owner": bucket_owner("OTHER_S3_BUCKET_OWNER"),
        "access_key_id": told["ACCESS_KEY_ID"] or None,
        "secret_access_key": told["SECRET_ACCESS_KEY"] or None,
    }
    return store, origin


def refuse_half_a_key() -> None:
    """boto3 would find out at the first call, and people with it; of a key and a profile it takes the key, untold."""
    key, secret, token = (
        as_given(f"AWS_{name}").strip() for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
    )
    if bool(key) != bool(secret):
        raise ImproperlyConfigured("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both, or neither.")
    if token and not key:
        raise ImproperlyConfigured("AWS_SESSION_TOKEN goes with AWS_ACCESS_KEY_ID, which is not set.")
    if key and as_given("AWS_PROFILE").strip():
        raise ImproperlyConfigured("AWS_PROFILE and AWS_ACCESS_KEY_ID are both set: keep one of them.")


refuse_half_a_key()
S3_BUCKET = matching(
    "AWS_STORAGE_BUCKET_NAME", required("AWS_STORAGE_BUCKET_NAME"), BUCKET, takes="the name of a bucket and no more"
)
S3_REGION = as_given("AWS_DEFAULT_REGION").strip() or as_given("AWS_REGION").strip() or "us-east-1"
matching("AWS_DEFAULT_REGION", S3_REGION, REGION, takes="the name of a region, like eu-central-1")
S3_ENDPOINT = str(env.str("AWS_ENDPOINT_URL_S3", default="") or env.str("AWS_ENDPOINT_URL", default="")) or None
S3_CHECKSUMS = checksums("S3_CHECKSUMS")
S3_CONDITIONS = conditions("S3_CONDITIONS", default=known_conditions(S3_ENDPOINT))
S3_BUCKET_OWNER = bucket_owner("S3_BUCKET_OWNER")
# What rows call this store. It only matters to an installation that has moved, or moves, from one store to another.
S3_STORE_NAME = store_name("S3_STORE_NAME")
# S3_ORIGIN is where browsers find the bucket, a foreign origin in the content security policy.
S3_ADDRESSING, S3_ORIGIN = bucket_place(S3_BUCKET, S3_REGION, S3_ENDPOINT, variable="AWS_ENDPOINT_URL_S3")
# A second store, only while files are moved from one to the other: a table of these, or none.
OTHER_S3, OTHER_S3_ORIGIN = other_store()
S3_ORIGINS = list(dict.fromkeys([S3_ORIGIN, *([OTHER_S3_ORIGIN] if OTHER_S3_ORIGIN else [])]))
