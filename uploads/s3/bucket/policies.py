"""Ownership, encryption and policy of a bucket."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from uploads.s3.signing import URL_SECONDS

URL_VALID_MILLISECONDS = URL_SECONDS * 1000
# For each S3_CHECKSUMS mode, the headers that a browser sends with the bytes (uploads/s3/signing.py).
PUT_HEADERS = {
    "sha256": ("content-type", "if-none-match", "x-amz-checksum-sha256"),
    "payload": ("content-type", "x-amz-content-sha256"),
    "off": ("content-type",),
}
BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
OWNER = "BucketOwnerEnforced"
OWN_PREFIX = "Amalga"  # the names of our statements and rules begin with it
OLD_PUTS = f"PUT by a signature of more than {URL_VALID_MILLISECONDS // 60_000} minutes"
ALGORITHMS = {"AES256": "keys of the store (SSE-S3)", "aws:kms": "KMS", "aws:kms:dsse": "KMS, two layers"}

Description = dict[str, str]


@dataclass(frozen=True)
class BucketSpec:
    """The desired settings of a bucket. `origins` are those of our pages, `headers` what they send; days are whole.

    `keep_days`: how long an overwritten or removed object can be restored. None: 35 days, or longer if the bucket
    already keeps them longer. `over_tls`: storage is reached over https; otherwise a policy against plain http would
    lock us out.
    """

    bucket: str
    partition: str  # aws, aws-cn, aws-us-gov
    origins: tuple[str, ...]
    headers: tuple[str, ...]
    abort_days: int
    keep_days: int | None = None
    over_tls: bool = True


def desired_blocks(_current: Any, _spec: BucketSpec) -> dict[str, bool]:
    return dict.fromkeys(BLOCKS, True)


def describe_blocks(document: Any, _spec: BucketSpec) -> Description:
    return {name: "on" if (document or {}).get(name) else "off" for name in BLOCKS}


def desired_owner(_current: Any, _spec: BucketSpec) -> dict[str, Any]:
    return {"Rules": [{"ObjectOwnership": OWNER}]}


def describe_owner(document: Any, _spec: BucketSpec) -> Description:
    rules = (document or {}).get("Rules") or [{}]
    return {"object ownership": rules[0].get("ObjectOwnership", "not set")}


def desired_policy(current: Any, spec: BucketSpec) -> dict[str, Any]:
    """Return the policy with our statements up to date and other statements unchanged."""
    policy = dict(current or {"Version": "2012-10-17"})
    others = [
        statement for statement in _statements(policy) if not str(statement.get("Sid", "")).startswith(OWN_PREFIX)
    ]
    return {**policy, "Statement": [*others, *own_statements(spec).values()]}


def own_statements(spec: BucketSpec) -> dict[str, dict[str, Any]]:
    """Return our statements by purpose."""
    everything = f"arn:{spec.partition}:s3:::{spec.bucket}"
    deny = {"Effect": "Deny", "Principal": "*"}
    tls = {
        "Sid": f"{OWN_PREFIX}TlsOnly",
        **deny,
        "Action": "s3:*",
        "Resource": [everything, f"{everything}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    # s3:PutObject covers parts as well. Downloads are left out: previews are signed for half an hour.
    fresh = {
        "Sid": f"{OWN_PREFIX}FreshSignatures",
        **deny,
        "Action": "s3:PutObject",
        "Resource": f"{everything}/*",
        "Condition": {"NumericGreaterThan": {"s3:signatureAge": str(URL_VALID_MILLISECONDS)}},
    }
    return ({"requests without TLS": tls} if spec.over_tls else {}) | {OLD_PUTS: fresh}


def describe_policy(document: Any, spec: BucketSpec) -> Description:
    current = [_normalize(statement) for statement in _statements(document or {})]
    return {
        purpose: "denied" if _normalize(statement) in current else "let in"
        for purpose, statement in own_statements(spec).items()
    }


def desired_encryption(current: Any, _spec: BucketSpec) -> Any:
    """Keep any encryption that is set: a bucket with a KMS key has it for a reason."""
    return (
        current
        if _algorithm(current)
        else {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    )


def describe_encryption(document: Any, _spec: BucketSpec) -> Description:
    algorithm = _algorithm(document)
    return {"default encryption": ALGORITHMS.get(algorithm, algorithm) or "none"}


def _algorithm(document: Any) -> str:
    rules = (document or {}).get("Rules") or [{}]
    return str(rules[0].get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", ""))


def _statements(policy: Any) -> list[dict[str, Any]]:
    """Return the statements of a policy, where a single one can stand without a list."""
    statements = policy.get("Statement") or []
    return [statements] if isinstance(statements, dict) else list(statements)


def _normalize(statement: dict[str, Any]) -> str:
    """Normalize how a store writes a statement: single items as lists, sorted lists, everyone as {"AWS": "*"}."""
    everyone = {"Principal": {"AWS": "*"}} if statement.get("Principal") == "*" else {}
    return json.dumps(_sort_lists({**statement, **everyone}), sort_keys=True)


def _sort_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sort_lists(inner) for name, inner in value.items()}
    return sorted(str(item) for item in (value if isinstance(value, list) else [value]))
