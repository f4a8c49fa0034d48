"""What the bucket keeps and for how long, and which pages may send to it: versions, lifecycle, CORS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uploads.s3.bucket.policies import OURS, BucketSpec, Told
from uploads.s3.metadata_objects import CLOCK_KEY

# Ours to expire. What others keep in the same bucket, and what was imported from it, is theirs. The clock is written
# over once a minute, and a version of it would stay each time.
PREFIXES = ("f/", "p/", "quarantine/", "manifests/", CLOCK_KEY)
# As long as RDS keeps its backups at most: a database brought back finds the objects of its time.
KEEP_DAYS = 35
CORS_SECONDS = 3600
# S3 user guide, "Understanding and managing Amazon S3 storage classes": which of them a GET reads at once
READABLE_CLASSES = {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}


def desired_versions(_now: Any, _aims: BucketSpec) -> dict[str, str]:
    return {"Status": "Enabled"}


def describe_versions(document: Any, _aims: BucketSpec) -> Told:
    return {"versioning": {"Enabled": "on", "Suspended": "suspended"}.get((document or {}).get("Status", ""), "off")}


def desired_lifecycle(now: Any, aims: BucketSpec) -> dict[str, Any]:
    """A rule for each prefix of ours, everybody else's rules as they are."""
    document = dict(now or {})
    rules = document.get("Rules") or []
    others = [one for one in rules if not str(one.get("ID", "")).startswith(OURS)]
    return {**document, "Rules": [*others, *(_rule(prefix, aims, rules) for prefix in PREFIXES)]}


def _rule(prefix: str, aims: BucketSpec, rules: list[Any]) -> dict[str, Any]:
    kept = [_keeps(one) or 0 for one in rules if one.get("ID") == _name(prefix)]
    return {
        "ID": _name(prefix),
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": aims.abort_days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": aims.keep_days or max([KEEP_DAYS, *kept])},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    }


def _name(prefix: str) -> str:
    return f"{OURS}-{prefix.rstrip('/')}"


def describe_lifecycle(document: Any, _aims: BucketSpec) -> Told:
    rules = {one.get("ID"): one for one in (document or {}).get("Rules") or []}
    told = {}
    for prefix in PREFIXES:
        rule = rules.get(_name(prefix), {})
        counts = rule.get("Status") == "Enabled" and _prefix(rule) == prefix
        abort = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation") if counts else None
        told[f"{prefix} unfinished uploads"] = f"aborted after {abort} days" if abort else "kept for ever"
        kept = _keeps(rule) if counts else None
        told[f"{prefix} overwritten and removed"] = f"kept for {kept} days" if kept else "kept for ever"
    return told


def _keeps(rule: Any) -> int | None:
    days: int | None = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    return days


def _prefix(rule: Any) -> str:
    """What a rule is about: older ones say it beside their filter, and one with tags within an And."""
    about = rule.get("Filter") or {}
    return str(rule.get("Prefix") or about.get("Prefix") or about.get("And", {}).get("Prefix") or "")


def lifecycle_conflicts(document: Any, *, expiry_days: int) -> list[str]:
    """What rules that are not ours do to our objects, in words; most buckets have none."""
    told = []
    for rule in (document or {}).get("Rules") or []:
        if not _is_foreign_rule_on_own_keys(rule):
            continue
        name = _described(rule)
        if {"Days", "Date"} & set(rule.get("Expiration", {})):
            told.append(f"{name} removes our files when they grow old")
        if archives := _classes(rule) & ARCHIVES:
            told.append(f"{name} archives our files ({_listed(archives)}): they cannot be read until they are restored")
        abort = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        if abort and abort <= expiry_days:
            told.append(f"{name} aborts uploads after {abort} days, while they may still be resumed")
        kept = _keeps(rule)
        if kept and kept < KEEP_DAYS:
            told.append(f"{name} keeps what was removed for {kept} days only")
    return told


def unknown_classes(document: Any) -> list[str]:
    """What rules that are not ours do to our objects, where it depends on a storage class that we do not know."""
    return [
        f"{_described(rule)} moves our files to {_listed(unknown)}, which may be an archive that cannot be read at once"
        for rule in (document or {}).get("Rules") or []
        if _is_foreign_rule_on_own_keys(rule) and (unknown := _classes(rule) - READABLE_CLASSES - ARCHIVES)
    ]


def archive_tiers(configurations: Any) -> list[str]:
    """Which Intelligent-Tiering configurations of the bucket archive our objects, in words. Without one, objects of
    that class can always be read at once."""
    return [
        f"Intelligent-Tiering configuration {one.get('Id', 'without a name')!r} archives files that are not read "
        f"({_listed(tier.get('AccessTier', '') for tier in one['Tierings'])}): they cannot be read until they are "
        "restored"
        for one in configurations or []
        if one.get("Status") == "Enabled" and one.get("Tierings") and _overlaps_own_keys(one)
    ]


def _classes(rule: Any) -> set[str]:
    """Where current versions are moved to. Previous versions may well be archived: nothing of ours reads them."""
    return {str(one.get("StorageClass", "")) for one in rule.get("Transitions") or []}


def _listed(words: Iterable[Any]) -> str:
    return ", ".join(sorted(str(word)[:40] for word in words))


def _described(rule: Any) -> str:
    return f"lifecycle rule {rule.get('ID', 'without a name')!r}"


def _is_foreign_rule_on_own_keys(rule: Any) -> bool:
    return rule.get("Status") == "Enabled" and not str(rule.get("ID", "")).startswith(OURS) and _overlaps_own_keys(rule)


def _overlaps_own_keys(rule: Any) -> bool:
    about = _prefix(rule)
    return any(prefix.startswith(about) or about.startswith(prefix) for prefix in PREFIXES)


def desired_cors(_now: Any, aims: BucketSpec) -> dict[str, Any]:
    """One rule and no other: whoever is named here may send to the bucket from their pages."""
    rule = {
        "ID": OURS,
        "AllowedOrigins": list(aims.origins),
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": list(aims.headers),
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": CORS_SECONDS,
    }
    return {"CORSRules": [rule]}


def describe_cors(document: Any, _aims: BucketSpec) -> Told:
    told: Told = {}
    for rule in (document or {}).get("CORSRules") or []:
        methods, sent, seen = (_names(rule.get(name)) for name in ("AllowedMethods", "AllowedHeaders", "ExposeHeaders"))
        may = f"{methods.upper()} with {sent}, sees {seen}, remembered for {rule.get('MaxAgeSeconds', 0)} s"
        for origin in rule.get("AllowedOrigins") or []:
            told[origin] = f"{told[origin]}; {may}" if origin in told else may
    return told


def _names(names: Any) -> str:
    return ", ".join(sorted(str(name).lower() for name in names or [])) or "nothing"
