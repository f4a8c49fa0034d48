"""Check that the storage can serve files before a transfer begins."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from uploads import s3
from uploads.errors import ObjectRefused, StorageUnavailable
from uploads.models import Origin, Refusal
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.stored_objects import FilesRefused, Stored, save_refusal
from uploads.services.tasks import retry_refused

STORAGE_CONCURRENCY = 16


def require_readable(files: Sequence[Stored]) -> None:
    """Read one byte of each of these files, concurrently, and save which of them the storage refuses.

    Requests previews of files that were refused before and can be read again. Files without an answer are left to the
    transfer itself. Raises FilesRefused, which names the refused files. Safe to repeat.
    """
    breaker = CircuitBreaker()

    def probe(file: Stored) -> tuple[Stored, str, bool] | None:
        """Return the file, the reason for a refusal, and whether it is refused now. None if unavailable."""
        try:
            breaker.require(file.store)
            archived = s3.require_readable(file.key, size=file.size, store=file.store)
        except ObjectRefused as error:
            return file, error.reason, True
        except StorageUnavailable:
            breaker.record_failure(file.store)
            return None
        return file, Refusal.ARCHIVED if archived else "", False

    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        results = list(filter(None, threads.map(probe, files)))
    for file, reason, _refused in results:
        save_refusal(file, reason)
    retry_refused([file.id for file, _reason, refused in results if file.refusal and not refused])
    if refusals := [(file.name, reason) for file, reason, refused in results if refused and _is_certain(file, reason)]:
        raise FilesRefused(refusals)


def _is_certain(file: Stored, reason: str) -> bool:
    """Return whether to trust the refusal. An upload was readable once, so an unexplained denial must happen twice."""
    return reason != Refusal.DENIED or bool(file.refusal) or file.origin != Origin.UPLOADED
