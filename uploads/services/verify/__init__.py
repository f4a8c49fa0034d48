"""Fixity: hold what is stored against what the rows say of it."""

from __future__ import annotations

from uploads.models import ChecksumStatus, File
from uploads.services.verify.reader import ResumableHasher
from uploads.services.verify.results import check_content, judge, save_results
from uploads.services.verify.runner import RateLimiter, Run, differences
from uploads.services.verify.selection import Candidate, least_recent, named, unverified, unverified_claims

__all__ = [
    "Candidate",
    "RateLimiter",
    "ResumableHasher",
    "Run",
    "differences",
    "judge",
    "least_recent",
    "named",
    "save_results",
    "unverified",
    "unverified_claims",
    "verify",
]


def verify(file: File) -> ChecksumStatus | None:
    """Read the whole object and settle what its checksum rests on: `read`, `damaged`, or `missing`.

    None when the file is no longer available: then nothing is said of it. Raises StorageUnavailable, and what
    `require_marker` raises when the bucket is not ours. Safe to repeat; memory does not grow with size.
    """
    held = save_results([check_content(file)])
    return held[0].basis if held else None
