"""Verify stored objects against their rows (fixity)."""

from __future__ import annotations

from uploads.models import ChecksumStatus, File
from uploads.services.verify.checks import ResumableHasher, check_content, judge, save_results
from uploads.services.verify.runner import Run, differences
from uploads.services.verify.selection import Selection, by_ids, least_recent, unverified, unverified_checksums

__all__ = [
    "ResumableHasher",
    "Run",
    "Selection",
    "by_ids",
    "differences",
    "judge",
    "least_recent",
    "save_results",
    "unverified",
    "unverified_checksums",
    "verify",
]


def verify(file: File) -> ChecksumStatus | None:
    """Read the whole object and save the status of its checksum: `verified`, `corrupted`, or `missing`.

    Return None, and save nothing, if the file is no longer available. Raises StorageUnavailable, and what
    `require_marker` raises if the bucket is not ours. Safe to repeat; memory does not grow with size.
    """
    saved = save_results([check_content(file)])
    return saved[0].status if saved else None
