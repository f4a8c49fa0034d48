"""Fixity: hold what is stored against what the rows say of it."""

from __future__ import annotations

from uploads.models import Basis, File
from uploads.services.verify.choosing import Chosen, claims, least_recent, named, unverified
from uploads.services.verify.pace import Paced
from uploads.services.verify.reading import Reading
from uploads.services.verify.running import Run, differences
from uploads.services.verify.verdicts import judge, read, settle

__all__ = [
    "Chosen",
    "Paced",
    "Reading",
    "Run",
    "claims",
    "differences",
    "judge",
    "least_recent",
    "named",
    "settle",
    "unverified",
    "verify",
]


def verify(file: File) -> Basis | None:
    """Read the whole object and settle what its checksum rests on: `read`, `damaged`, or `missing`.

    None when the file is no longer available: then nothing is said of it. Raises StoreUnavailable, and what
    `require_marker` raises when the bucket is not ours. Safe to repeat; memory does not grow with size.
    """
    held = settle([read(file)])
    return held[0].basis if held else None
