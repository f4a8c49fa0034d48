"""Ownership, encryption and policy of a bucket."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from uploads.s3.signing import URL_SECONDS

URL_VALID_MILLISECONDS = URL_SECONDS * 1000
# Per kind of S3_CHECKSUMS, what a browser sends beside the bytes (uploads/s3/signing.py).
PUT_HEADERS = {
    "sha256": ("content-type", "if-none-match", "x-amz-checksum-sha256"),
    "payload": ("content-type", "x-amz-content-sha256"),
    "off": ("content-type",),
}
BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
OWNER = "BucketOwnerEnforced"
OURS = "Amalga"  # statements and rules of ours are called so at the beginning
OLD_PUTS = f"PUT by a signature of more than {URL_VALID_MILLISECONDS // 60_000} minutes"
ALGORITHMS = {"AES256": "keys of the store (SSE-S3)", "aws:kms": "KMS", "aws:kms:dsse": "KMS, two layers"}

Told = dict[str, str]


@dataclass(frozen=True)
class BucketSpec:
    """`origins` are those of our pages; `headers` what they send; days as whole numbers.

    `keep_days`: how long an overwritten or removed object can be brought back. None: 35 days, or as many more as the
    bucket keeps already. `over_tls`: the store is asked by https; else a policy against plain http would shut us out.
    """

    bucket: str
    partition: str  # aws, aws-cn, aws-us-gov
    origins: tuple[str, ...]
    headers: tuple[str, ...]
    abort_days: int
    keep_days: int | None = None
    over_tls: bool = True


def desired_blocks(_now: Any, _aims: BucketSpec) -> dict[str, bool]:
    return dict.fromkeys(BLOCKS, True)


def describe_blocks(document: Any, _aims: BucketSpec) -> Told:
    return {name: "on" if (document or {}).get(name) else "off" for name in BLOCKS}


def desired_owner(_now: Any, _aims: BucketSpec) -> dict[str, Any]:
    return {"Rules": [{"ObjectOwnership": OWNER}]}


def describe_owner(document: Any, _aims: BucketSpec) -> Told:
    rules = (document or {}).get("Rules") or [{}]
    return {"object ownership": rules[0].get("ObjectOwnership", "not set")}


def desired_policy(now: Any, aims: BucketSpec) -> dict[str, Any]:
    """Our statements in their newest form, everybody else's as they are."""
    policy = dict(now or {"Version": "2012-10-17"})
    others = [one for one in _statements(policy) if not str(one.get("Sid", "")).startswith(OURS)]
    return {**policy, "Statement": [*others, *our_statements(aims).values()]}


def our_statements(aims: BucketSpec) -> dict[str, dict[str, Any]]:
    """By what each is for."""
    everything = f"arn:{aims.partition}:s3:::{aims.bucket}"
    deny = {"Effect": "Deny", "Principal": "*"}
    tls = {
        "Sid": f"{OURS}TlsOnly",
        **deny,
        "Action": "s3:*",
        "Resource": [everything, f"{everything}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    # s3:PutObject is also what sends a part. Downloads are left out: previews are signed for half an hour.
    fresh = {
        "Sid": f"{OURS}FreshSignatures",
        **deny,
        "Action": "s3:PutObject",
        "Resource": f"{everything}/*",
        "Condition": {"NumericGreaterThan": {"s3:signatureAge": str(URL_VALID_MILLISECONDS)}},
    }
    return ({"requests without TLS": tls} if aims.over_tls else {}) | {OLD_PUTS: fresh}


def describe_policy(document: Any, aims: BucketSpec) -> Told:
    there = [_plain(one) for one in _statements(document or {})]
    return {what: "denied" if _plain(one) in there else "let in" for what, one in our_statements(aims).items()}


def desired_encryption(now: Any, _aims: BucketSpec) -> Any:
    """Whatever encrypts stays: a bucket with a key in KMS has it for a reason."""
    return now if _algorithm(now) else {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


def describe_encryption(document: Any, _aims: BucketSpec) -> Told:
    found = _algorithm(document)
    return {"default encryption": ALGORITHMS.get(found, found) or "none"}


def _algorithm(document: Any) -> str:
    rules = (document or {}).get("Rules") or [{}]
    return str(rules[0].get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", ""))


def _statements(policy: Any) -> list[dict[str, Any]]:
    """One statement may stand without its list."""
    found = policy.get("Statement") or []
    return [found] if isinstance(found, dict) else list(found)


def _plain(statement: dict[str, Any]) -> str:
    """A statement however a store writes it: lists of one, the order of lists, everybody as {"AWS": "*"}."""
    everybody = {"Principal": {"AWS": "*"}} if statement.get("Principal") == "*" else {}
    return json.dumps(_listed({**statement, **everybody}), sort_keys=True)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(inner) for name, inner in value.items()}
    return sorted(str(one) for one in (value if isinstance(value, list) else [value]))
