"""The desired settings of a bucket: ownership, encryption, policy, versioning, lifecycle rules and CORS."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from uploads.keys import CHECKPOINT_KEY, OWN_PREFIXES
from uploads.s3.errors import ARCHIVES
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
OWN_ID = "Amalga"  # the names of our statements and rules begin with it
OLD_PUTS = f"PUT with signatures older than {URL_VALID_MILLISECONDS // 60_000} minutes"
ALGORITHMS = {"AES256": "keys of the storage (SSE-S3)", "aws:kms": "KMS", "aws:kms:dsse": "KMS, two layers"}

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
    others = [statement for statement in _statements(policy) if not str(statement.get("Sid", "")).startswith(OWN_ID)]
    return {**policy, "Statement": [*others, *own_statements(spec).values()]}


def own_statements(spec: BucketSpec) -> dict[str, dict[str, Any]]:
    """Return our statements by purpose."""
    everything = f"arn:{spec.partition}:s3:::{spec.bucket}"
    deny = {"Effect": "Deny", "Principal": "*"}
    tls = {
        "Sid": f"{OWN_ID}TlsOnly",
        **deny,
        "Action": "s3:*",
        "Resource": [everything, f"{everything}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    # s3:PutObject covers parts as well. Downloads are left out: previews are signed for half an hour.
    fresh = {
        "Sid": f"{OWN_ID}FreshSignatures",
        **deny,
        "Action": "s3:PutObject",
        "Resource": f"{everything}/*",
        "Condition": {"NumericGreaterThan": {"s3:signatureAge": str(URL_VALID_MILLISECONDS)}},
    }
    return ({"requests without TLS": tls} if spec.over_tls else {}) | {OLD_PUTS: fresh}


def describe_policy(document: Any, spec: BucketSpec) -> Description:
    current = [_normalize(statement) for statement in _statements(document or {})]
    return {
        purpose: "denied" if _normalize(statement) in current else "allowed"
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


# Only keys that we write expire. Other objects in the bucket, including imported ones, belong to others. The checkpoint
# is overwritten once a minute, and each time leaves a previous version.
PREFIXES = (*OWN_PREFIXES, CHECKPOINT_KEY)
# RDS keeps backups for at most 35 days: a restored database still finds the objects of its time.
KEEP_DAYS = 35
CORS_SECONDS = 3600
# S3 user guide, "Understanding and managing Amazon S3 storage classes": a GET reads these at once
READABLE_CLASSES = {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}


def desired_versions(_current: Any, _spec: BucketSpec) -> dict[str, str]:
    return {"Status": "Enabled"}


def describe_versions(document: Any, _spec: BucketSpec) -> Description:
    return {"versioning": {"Enabled": "on", "Suspended": "suspended"}.get((document or {}).get("Status", ""), "off")}


def desired_lifecycle(current: Any, spec: BucketSpec) -> dict[str, Any]:
    """Return one rule for each of our prefixes, and leave other rules unchanged."""
    document = dict(current or {})
    rules = document.get("Rules") or []
    others = [rule for rule in rules if not str(rule.get("ID", "")).startswith(OWN_ID)]
    return {**document, "Rules": [*others, *(_rule(prefix, spec, rules) for prefix in PREFIXES)]}


def _rule(prefix: str, spec: BucketSpec, rules: list[Any]) -> dict[str, Any]:
    current_days = [_noncurrent_days(rule) or 0 for rule in rules if rule.get("ID") == _rule_id(prefix)]
    return {
        "ID": _rule_id(prefix),
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": spec.abort_days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": spec.keep_days or max([KEEP_DAYS, *current_days])},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    }


def _rule_id(prefix: str) -> str:
    return f"{OWN_ID}-{prefix.rstrip('/')}"


def describe_lifecycle(document: Any, _spec: BucketSpec) -> Description:
    rules = {rule.get("ID"): rule for rule in (document or {}).get("Rules") or []}
    description = {}
    for prefix in PREFIXES:
        rule = rules.get(_rule_id(prefix), {})
        applies = rule.get("Status") == "Enabled" and _prefix(rule) == prefix
        abort = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation") if applies else None
        description[f"{prefix} unfinished uploads"] = f"aborted after {abort} days" if abort else "kept forever"
        days = _noncurrent_days(rule) if applies else None
        description[f"{prefix} deleted and overwritten objects"] = f"kept for {days} days" if days else "kept forever"
    return description


def _noncurrent_days(rule: Any) -> int | None:
    days: int | None = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    return days


def _prefix(rule: Any) -> str:
    """Return the prefix of a rule: older rules have it beside the filter, rules with tags inside an And."""
    filters = rule.get("Filter") or {}
    return str(rule.get("Prefix") or filters.get("Prefix") or filters.get("And", {}).get("Prefix") or "")


def lifecycle_conflicts(document: Any, *, expiry_days: int) -> list[str]:
    """Describe what other lifecycle rules do to our objects; most buckets have none."""
    conflicts = []
    for rule in (document or {}).get("Rules") or []:
        if not _is_foreign_rule_on_own_keys(rule):
            continue
        name = _label(rule)
        if {"Days", "Date"} & set(rule.get("Expiration", {})):
            conflicts.append(f"{name} deletes files after some time")
        if archives := _classes(rule) & ARCHIVES:
            conflicts.append(f"{name} archives files ({_join(archives)}), which cannot be read until they are restored")
        abort = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        if abort and abort <= expiry_days:
            conflicts.append(f"{name} aborts uploads after {abort} days, while they can still be resumed")
        days = _noncurrent_days(rule)
        if days and days < KEEP_DAYS:
            conflicts.append(f"{name} keeps deleted objects for {days} days only")
    return conflicts


def unknown_classes(document: Any) -> list[str]:
    """Describe other lifecycle rules that move our objects to a storage class that we do not know."""
    return [
        f"{_label(rule)} moves files to {_join(unknown)}, which may be an archive that cannot be read immediately"
        for rule in (document or {}).get("Rules") or []
        if _is_foreign_rule_on_own_keys(rule) and (unknown := _classes(rule) - READABLE_CLASSES - ARCHIVES)
    ]


def archive_tiers(configurations: Any) -> list[str]:
    """Describe the bucket's Intelligent-Tiering configurations that archive our objects.

    Without one, objects of that class can always be read at once.
    """
    return [
        f"Intelligent-Tiering configuration {tiering.get('Id', 'without a name')!r} archives files that are rarely "
        f"read ({_join(tier.get('AccessTier', '') for tier in tiering['Tierings'])}), and must be restored first"
        for tiering in configurations or []
        if tiering.get("Status") == "Enabled" and tiering.get("Tierings") and _overlaps_own_keys(tiering)
    ]


def _classes(rule: Any) -> set[str]:
    """Return the classes that current versions move to. Previous versions can be archived: we never read them."""
    return {str(transition.get("StorageClass", "")) for transition in rule.get("Transitions") or []}


def _join(words: Iterable[Any]) -> str:
    return ", ".join(sorted(str(word)[:40] for word in words))


def _label(rule: Any) -> str:
    return f"lifecycle rule {rule.get('ID', 'without a name')!r}"


def _is_foreign_rule_on_own_keys(rule: Any) -> bool:
    return (
        rule.get("Status") == "Enabled" and not str(rule.get("ID", "")).startswith(OWN_ID) and _overlaps_own_keys(rule)
    )


def _overlaps_own_keys(rule: Any) -> bool:
    rule_prefix = _prefix(rule)
    return any(prefix.startswith(rule_prefix) or rule_prefix.startswith(prefix) for prefix in PREFIXES)


def desired_cors(_current: Any, spec: BucketSpec) -> dict[str, Any]:
    """Return one rule and no other: only pages of these origins can send to the bucket."""
    rule = {
        "ID": OWN_ID,
        "AllowedOrigins": list(spec.origins),
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": list(spec.headers),
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": CORS_SECONDS,
    }
    return {"CORSRules": [rule]}


def describe_cors(document: Any, _spec: BucketSpec) -> Description:
    description: Description = {}
    for rule in (document or {}).get("CORSRules") or []:
        methods, allowed, exposed = (
            _names(rule.get(name)) for name in ("AllowedMethods", "AllowedHeaders", "ExposeHeaders")
        )
        access = f"{methods.upper()} with {allowed}, sees {exposed}, remembered for {rule.get('MaxAgeSeconds', 0)} s"
        for origin in rule.get("AllowedOrigins") or []:
            description[origin] = f"{description[origin]}; {access}" if origin in description else access
    return description


def _names(names: Any) -> str:
    return ", ".join(sorted(str(name).lower() for name in names or [])) or "nothing"
