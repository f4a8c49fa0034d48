"""Errors of requests and of the storage. Each message can be shown to a user."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

MINUTES_FROM = 90  # seconds


class Problem(Exception):
    """An error with a `code` for programs, an HTTP `status_code`, and a `message` that tells people what to do."""

    code = "bad_request"
    status_code = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ValidationFailed(Problem):
    """The input is invalid."""


class BadDigest(Problem):
    code = "bad_digest"
    status_code = 400


class Forbidden(Problem):
    code = "forbidden"
    status_code = 403


class MayNotUpload(Forbidden):
    """This person may not add files anywhere."""

    def __init__(self) -> None:
        super().__init__(_("You don't have permission to upload. Ask an administrator for a role."))


class FolderNotWritable(Forbidden):
    """This person may not add files to this folder."""

    def __init__(self) -> None:
        super().__init__(_("You don't have permission to upload to this folder."))


class UploadNotFound(Problem):
    code = "not_found"
    status_code = 404

    def __init__(self) -> None:
        super().__init__(_("Upload not found."))


class InvalidTransition(Problem):
    code = "wrong_state"
    status_code = 409


class TooManyAttempts(Problem):
    """Too many sign-in attempts; the next is allowed in `retry_after` seconds."""

    code = "too_many_attempts"
    status_code = 429

    def __init__(self, seconds: int) -> None:
        super().__init__(_wait_message(seconds))
        self.retry_after = seconds


def _wait_message(seconds: int) -> str:
    """Return the message for a wait, from MINUTES_FROM on in minutes, rounded up."""
    if seconds <= MINUTES_FROM:
        text = ngettext(
            "Too many attempts. Try again in %(count)s second.",
            "Too many attempts. Try again in %(count)s seconds.",
            seconds,
        )
        return text % {"count": seconds}
    minutes = -(-seconds // 60)
    text = ngettext(
        "Too many attempts. Try again in %(count)s minute.",
        "Too many attempts. Try again in %(count)s minutes.",
        minutes,
    )
    return text % {"count": minutes}


class LinkUnknown(Problem):
    """No public link has this token."""

    code = "link_unknown"
    status_code = 404

    def __init__(self) -> None:
        super().__init__(_("Check that you copied the whole link."))


class LinkEnded(Problem):
    """The public link was revoked, has expired or is used up, or what it opens is no longer available."""

    code = "link_ended"
    status_code = 410


class Conflict(Problem):
    """The requested item already exists."""

    code = "conflict"
    status_code = 409


class PartsMissing(Problem):
    """Some parts are not in the storage, or differ from what was announced: `numbers`, counted from 1."""

    code = "parts_missing"
    status_code = 409

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(_("Some parts are missing. Send them, then complete the upload again."))
        self.numbers = list(numbers)


class CompletionInProgress(Problem):
    """Another request is completing this upload; retry after `retry_after` seconds."""

    code = "completing"
    status_code = 202
    retry_after = 2

    def __init__(self) -> None:
        super().__init__(_("The upload is being completed. Check again in a moment."))


class Gone(Problem):
    code = "gone"
    status_code = 410

    def __init__(self) -> None:
        super().__init__(_("This upload no longer exists. Start it again."))


class Expired(Problem):
    code = "expired"
    status_code = 410

    def __init__(self) -> None:
        super().__init__(_("This upload has expired. Start it again."))


class TooLarge(Problem):
    code = "too_large"
    status_code = 413


class OverQuota(Problem):
    code = "over_quota"
    status_code = 413


class OwnerOverQuota(OverQuota):
    """The file's owner has no space left: a new version counts against the owner's quota, not the sender's."""

    def __init__(self) -> None:
        super().__init__(
            _("The owner of this file doesn't have enough storage for a new version. Upload it as a new file.")
        )


class ObjectMissing(Problem):
    """The row exists, but its object is known to be missing."""

    code = "bytes_missing"
    status_code = 410

    def __init__(self, name: str) -> None:
        text = _("“%(name)s” is missing from storage. Tell an administrator, or upload it again as a new version.")
        super().__init__(text % {"name": name})


class Quarantined(Problem):
    """The file is in quarantine: it waits for the malware check, could not be checked, or is infected."""

    code = "quarantined"
    status_code = 409

    def __init__(self, name: str, *, is_infected: bool) -> None:
        text = (
            _("“%(name)s” contains malware and can't be downloaded. A manager can review it.")
            if is_infected
            else _("“%(name)s” can't be downloaded until it has been checked for malware.")
        )
        super().__init__(text % {"name": name})


class LengthRequired(Problem):
    code = "length_required"
    status_code = 411


class RefusedType(Problem):
    code = "refused_type"
    status_code = 415


class RefusedEncoding(Problem):
    """The object was sent with a Content-Encoding, so a download would decode to other bytes than those hashed."""

    code = "refused_encoding"
    status_code = 415

    def __init__(self, encoding: str) -> None:
        text = _("The file was sent with “Content-Encoding: %(encoding)s”. Send it again without this header.")
        super().__init__(text % {"encoding": encoding})


class WrongMarker(Problem):
    """The marker in the bucket names another database, or there is no marker."""

    code = "wrong_marker"
    status_code = 503


class MarkerMissing(WrongMarker):
    """The bucket has no marker: it was never provisioned, was emptied, or is the wrong bucket."""


class Paused(Problem):
    """An operator has paused expiry and removal."""

    code = "paused"
    status_code = 503


class DatabaseOlderThanBucket(Paused):
    """The bucket's checkpoint names an event that this database lacks: it was restored to an earlier moment."""

    code = "database_behind"
    status_code = 503


class StorageUnavailable(Problem):
    """The storage timed out or failed: the outcome is unknown, and nothing is lost."""

    code = "unavailable"
    status_code = 503
    retry_after = 5

    def __init__(self, detail: str = "") -> None:
        super().__init__(_("Storage isn't responding. Your files are safe; try again in a few seconds."))
        self.detail = detail  # for the log: operation and error code, never a URL


class StorageDenied(StorageUnavailable):
    """The storage denied access (403): missing permissions, which must never be read as "not found"."""


class ObjectRefused(StorageDenied):
    """The storage refuses this one object until an operator changes something there. Report it; do not retry soon.

    `reason` is one of models.Refusal.
    """

    code = "object_refused"
    status_code = 409
    retry_after = None  # type: ignore[assignment]
    reason = "denied"

    def __init__(self, detail: str = "") -> None:
        text = _("This file can't be read from storage. Ask an administrator.")
        Problem.__init__(self, text)
        self.detail = detail


class ObjectArchived(ObjectRefused):
    """The object is archived, and the storage must restore it first (S3: InvalidObjectState)."""

    code = "object_archived"
    status_code = 409
    reason = "archived"


class ObjectEncrypted(ObjectRefused):
    """The object is encrypted with a key that we lack (SSE-C), or that is disabled or denied to us (SSE-KMS)."""

    reason = "encrypted"


class ListingOutOfOrder(Problem):
    """The storage does not list its keys in byte order, as S3 does, so nothing can be compared with it."""

    code = "out_of_order"
    status_code = 503

    def __init__(self) -> None:
        super().__init__(
            _("Storage doesn't list keys in order, so it can't be compared. S3 directory buckets aren't supported.")
        )
