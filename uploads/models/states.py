"""States, types and other choices of a file, and the allowed transitions between states."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    UPLOADING = "uploading", _("Uploading")  # reserved: bytes may be arriving
    COMPLETING = "completing", _("Completing")  # being assembled, under a lease
    AVAILABLE = "available", _("Available")  # the object exists, with this size and ETag
    TRASHED = "trashed", _("In the trash")  # hidden; can be restored until purge_after
    DELETING = "deleting", _("Deleting")  # the object is deleted first, then the row


# Target state: the states it can be reached from. Migration 0002 has a trigger with the same table, and a test compares
# them.
ALLOWED_TRANSITIONS: dict[State, frozenset[State]] = {
    State.UPLOADING: frozenset({State.COMPLETING}),
    State.COMPLETING: frozenset({State.UPLOADING}),
    State.AVAILABLE: frozenset({State.COMPLETING, State.TRASHED}),
    State.TRASHED: frozenset({State.AVAILABLE}),
    State.DELETING: frozenset({State.UPLOADING, State.COMPLETING, State.TRASHED}),
}


class Visibility(models.TextChoices):
    TEAM = "team", _("Team")
    PRIVATE = "private", _("Private")


class Category(models.TextChoices):
    """The kinds of files that people filter by."""

    IMAGE = "image", _("Images")
    VIDEO = "video", _("Video")
    AUDIO = "audio", _("Audio")
    PDF = "pdf", _("PDF")
    DOCUMENT = "document", _("Documents")
    TEXT = "text", _("Text and code")
    ARCHIVE = "archive", _("Archives")
    OTHER = "other", _("Other")


class ChecksumStatus(models.TextChoices):
    """How a file's checksum was verified, if at all."""

    UNVERIFIED = "unverified", _("not verified yet")  # imported files have no checksum until the first verification
    VERIFIED_BY_STORAGE = "verified_by_storage", _("verified by storage on upload")
    VERIFIED = "verified", _("verified against the stored file")
    CORRUPTED = "corrupted", _("corrupted")
    MISSING = "missing", _("missing from storage")


# States in which a file has its object, and statuses of objects that are not what was uploaded.
STORED = [State.AVAILABLE, State.TRASHED]
FAILED_CHECKSUMS = [ChecksumStatus.CORRUPTED, ChecksumStatus.MISSING]


class ScanStatus(models.TextChoices):
    """The result of the malware check. Empty for a file that is not checked."""

    PENDING = "pending", _("waiting for the malware check")
    CLEAN = "clean", _("no malware found")
    INFECTED = "infected", _("malware found")
    FAILED = "failed", _("could not be checked for malware")


class Refusal(models.TextChoices):
    """Why the storage refused to return an existing object at the last attempt."""

    ARCHIVED = "archived", _("archived, must be restored first")
    ENCRYPTED = "encrypted", _("encrypted with a key that isn't available")
    DENIED = "denied", _("access denied by storage")


class SameName(models.TextChoices):
    """What to do with an upload that has the name of an existing file."""

    NEW_VERSION = "new_version", _("New version: the file keeps its link and its previous versions")
    KEEP_BOTH = "keep_both", _("Keep both: the new file gets a number")
    SKIP = "skip", _("Skip: the new file isn't uploaded")


class Origin(models.TextChoices):
    """Who created the object of a file, and so whether Amalga may delete it."""

    UPLOADED = "uploaded", _("uploaded here")
    IMPORTED = "imported", _("imported, never deleted from storage")
    ADOPTED = "adopted", _("imported, managed by Amalga")
