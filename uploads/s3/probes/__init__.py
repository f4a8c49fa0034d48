"""Trying the store out, as an operator wants to know it: who we are to it, whether it answers, what it honours."""

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
from uploads.s3.probes.conditions import belongs_to_another, honors_owner, try_conditions
from uploads.s3.probes.digests import PREFIX, ProbeResult, clear_leftovers, try_mode

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
    "probe_cloudfront",
    "probe_endpoint",
    "probe_time",
    "try_conditions",
    "try_mode",
]
