"""What a sender asks of the services: new files, parts, and an end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uploads.models import Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """A file as its sender announces it: `name` and `folder` clean, `size` in bytes; `replaces` is the
    permanent id of the file that this is to be a new version of."""

    token: UUID
    name: str
    size: int
    claimed_type: str = ""
    folder: str = ""
    modified: datetime | None = None
    visibility: Visibility = Visibility.TEAM
    replaces: UUID | None = None
    sha256: str | None = None  # of the whole file, when it fits one part


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part to be sent: its number from 1 and the base64 SHA-256 of its bytes."""

    number: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class FinishRequest:
    """What the sender says it has sent: one base64 SHA-256 per part, in order."""

    id: UUID
    digests: list[str]
