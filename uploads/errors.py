"""Everything that can be wrong with a request or with the store; each text is fit for a user."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext


class Problem(Exception):
    """A refusal with a `code` for programs, an HTTP `status_code`, and a sentence for people that says what to do."""

    code = "bad_request"
    status_code = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ValidationFailed(Problem):
    """What was sent makes no sense."""


class BadDigest(Problem):
    code = "bad_digest"
    status_code = 400


class Forbidden(Problem):
    code = "forbidden"
    status_code = 403


class NotFound(Problem):
    code = "not_found"
    status_code = 404

    def __init__(self) -> None:
        super().__init__(_("There is no such upload among yours."))


class InvalidTransition(Problem):
    code = "wrong_state"
    status_code = 409


class TooManyAttempts(Problem):
    """Somebody tried too often to get in; `retry_after` seconds from now they may try again."""

    code = "too_many_attempts"
    status_code = 429

    def __init__(self, seconds: int) -> None:
        told = ngettext(
            "That was tried too often. Wait %(count)s second, then try again.",
            "That was tried too often. Wait %(count)s seconds, then try again.",
            seconds,
        )
        super().__init__(told % {"count": seconds})
        self.retry_after = seconds


class Conflict(Problem):
    """What was asked for is there already."""

    code = "conflict"
    status_code = 409


class PartsMissing(Problem):
    """Some parts are not in the store, or not as they were announced: `numbers`, counted from 1."""

    code = "parts_missing"
    status_code = 409

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(_("Some bytes are not stored yet. Send the missing parts and finish again."))
        self.numbers = list(numbers)


class CompletionInProgress(Problem):
    """Somebody else is finishing this upload now; ask again after `retry_after` seconds."""

    code = "completing"
    status_code = 202
    retry_after = 2

    def __init__(self) -> None:
        super().__init__(_("The upload is being completed. Ask again in a moment."))


class Gone(Problem):
    code = "gone"
    status_code = 410

    def __init__(self) -> None:
        super().__init__(_("This upload was removed. Start it again."))


class Expired(Problem):
    code = "expired"
    status_code = 410

    def __init__(self) -> None:
        super().__init__(_("The time for this upload is over. Start it again."))


class TooLarge(Problem):
    code = "too_large"
    status_code = 413


class OverQuota(Problem):
    code = "over_quota"
    status_code = 413


class OwnerOverQuota(OverQuota):
    """A new version counts against the quota of the file's owner, not of its sender."""

    def __init__(self) -> None:
        super().__init__(_("The owner of this file has no space left for a new version. Upload it as a new file."))


class ObjectMissing(Problem):
    """The row is there, and its object is known not to be."""

    code = "bytes_missing"
    status_code = 410

    def __init__(self, name: str) -> None:
        told = _(
            "The bytes of “%(name)s” are not in the store. You did nothing wrong. Tell an administrator, who may have "
            "a copy; or, if you still have the file, upload it again as a new version."
        )
        super().__init__(told % {"name": name})


class LengthRequired(Problem):
    code = "length_required"
    status_code = 411


class RefusedType(Problem):
    code = "refused_type"
    status_code = 415


class RefusedEncoding(Problem):
    """The bytes were sent with a Content-Encoding: who downloads them would get others than those that were hashed."""

    code = "refused_encoding"
    status_code = 415

    def __init__(self, encoding: str) -> None:
        text = _("The file was sent with “Content-Encoding: %(encoding)s”. Send it again without that header.")
        super().__init__(text % {"encoding": encoding})


class WrongMarker(Problem):
    """The bucket belongs to another database, or says nothing of whose it is."""

    code = "wrong_marker"
    status_code = 503


class MarkerMissing(WrongMarker):
    """The bucket says nothing: it was never provisioned, or was emptied, or is the wrong one."""


class Paused(Problem):
    """Nothing is given up or removed for now: somebody said so."""

    code = "paused"
    status_code = 503


class DatabaseOlderThanBucket(Paused):
    """The bucket remembers what this database does not know: it was restored to an earlier moment."""

    code = "database_behind"
    status_code = 503


class StorageUnavailable(Problem):
    """The store did not answer, or answered with a fault of its own: nothing is known, nothing is lost."""

    code = "unavailable"
    status_code = 503
    retry_after = 5

    def __init__(self, detail: str = "") -> None:
        super().__init__(_("The store did not answer. Nothing is lost: try again in a few seconds."))
        self.detail = detail  # for the log: operation and error code, never a URL


class StorageDenied(StorageUnavailable):
    """The store refused (403): wrong rights, never to be read as "not there"."""


class ObjectRefused(StorageDenied):
    """The store gives others, but refuses this one object until somebody changes something there: to be told, not to
    be tried again soon. `reason` is one of models.Refusal."""

    code = "object_refused"
    status_code = 409
    retry_after = None  # type: ignore[assignment]
    reason = "denied"

    def __init__(self, detail: str = "") -> None:
        text = _("The storage refuses to give out this file. Ask an administrator.")
        Problem.__init__(self, text)
        self.detail = detail


class ObjectArchived(ObjectRefused):
    """It is in an archive of the store, which has to restore it first (S3: InvalidObjectState)."""

    code = "object_archived"
    status_code = 409
    reason = "archived"


class ObjectEncrypted(ObjectRefused):
    """It is encrypted with a key that we do not have (SSE-C), or that is disabled or denied to us (SSE-KMS)."""

    reason = "encrypted"


class ListingOutOfOrder(Problem):
    """A store that does not list its keys by their bytes, as S3 does: nothing can be compared with it."""

    code = "out_of_order"
    status_code = 503

    def __init__(self) -> None:
        super().__init__(
            _("The store does not list its keys in order, as directory buckets of S3 do not. Nothing can be compared.")
        )
