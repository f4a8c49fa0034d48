"""Requests of the upload services: new uploads, parts to sign, and uploads to finish."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uploads.models import Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """An upload to create: `name` and `folder` are clean, `size` is in bytes.

    `replaces` is the permanent id of the file that gets this as a new version.
    """

    token: UUID
    name: str
    size: int
    declared_type: str = ""
    folder: str = ""
    modified: datetime | None = None
    visibility: Visibility = Visibility.TEAM
    replaces: UUID | None = None
    sha256: str | None = None  # of the whole file, when it fits one part


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part to sign a URL for: its number, counted from 1, and the base64 SHA-256 of its bytes."""

    number: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class FinishRequest:
    """An upload to finish: one base64 SHA-256 for each part that was sent, in order."""

    id: UUID
    digests: list[str]
