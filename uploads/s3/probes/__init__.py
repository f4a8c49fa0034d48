"""Probes of the storage for operators: credentials in use, reachability, and the checks that the storage honors."""

from uploads.s3.probes.access import (
    Credentials,
    Edge,
    Preflight,
    credentials_in_use,
    is_publicly_readable,
    preflight,
    probe_cloudfront,
    probe_endpoint,
    probe_time,
)
from uploads.s3.probes.conditions import belongs_to_another, honors_owner, probe_conditions
from uploads.s3.probes.digests import PREFIX, ProbeResult, clear_leftovers, probe_checksum_mode

__all__ = [
    "PREFIX",
    "Credentials",
    "Edge",
    "Preflight",
    "ProbeResult",
    "belongs_to_another",
    "clear_leftovers",
    "credentials_in_use",
    "honors_owner",
    "is_publicly_readable",
    "preflight",
    "probe_checksum_mode",
    "probe_cloudfront",
    "probe_conditions",
    "probe_endpoint",
    "probe_time",
]
