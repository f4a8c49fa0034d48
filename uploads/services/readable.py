"""Whether the storage gives out files, found out before a transfer begins."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from uploads import s3
from uploads.errors import ObjectRefused, StorageUnavailable
from uploads.models import Origin, Refusal
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.preview_tasks import retry_refused
from uploads.services.refusals import FilesRefused, Stored, keep_refusal

STORAGE_CONCURRENCY = 16


def require_readable(files: Sequence[Stored]) -> None:
    """Ask the storage for a byte of each of these files, several at once, and keep what it says.

    A file that was refused before and can be read again is asked for its previews. What the storage does not answer
    now is left to the reading. Raises FilesRefused, which names those that are not given out. Safe to repeat.
    """
    watch = CircuitBreaker()

    def ask(file: Stored) -> tuple[Stored, str, bool] | None:
        """Why the storage may refuse the file, and whether it does now. None: it does not say."""
        try:
            watch.require(file.store)
            archived = s3.require_readable(file.key, size=file.size, store=file.store)
        except ObjectRefused as fault:
            return file, fault.reason, True
        except StorageUnavailable:
            watch.doubt(file.store)
            return None
        return file, Refusal.ARCHIVED if archived else "", False

    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        answers = list(filter(None, threads.map(ask, files)))
    for file, reason, _refused in answers:
        keep_refusal(file, reason)
    retry_refused([file.id for file, _reason, refused in answers if file.refusal and not refused])
    if told := [(file.name, reason) for file, reason, refused in answers if refused and _is_sure(file, reason)]:
        raise FilesRefused(told)


def _is_sure(file: Stored, reason: str) -> bool:
    """An upload was readable once: that it is denied without a word of why is believed the second time."""
    return reason != Refusal.DENIED or bool(file.refusal) or file.origin != Origin.UPLOADED
