"""Verify one file at once, as the worker does."""

from __future__ import annotations

from uploads.models import ChecksumStatus, File
from uploads.services.verify.fixity import check_content, save_results


def verify_file(file: File) -> ChecksumStatus | None:
    """Read the object, and save and return the status of its checksum; None for a file that is not available."""
    saved = save_results([check_content(file)])
    return saved[0].status if saved else None
