"""Pagination cursors: the last row of a page, encoded in the link to the next page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

MAX_CHARACTERS = 4_000
MAX_DIGITS = 18  # a folder's id; a file's has 32 or more characters


class InvalidCursor(ValueError):
    """The cursor is malformed, or belongs to another sort order."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The value that the list is sorted by, and the id that breaks ties: an integer for a folder."""

    value: Any
    id: UUID | int

    def __str__(self) -> str:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        return f"{value}_{self.id}"

    @property
    def among_folders(self) -> bool:
        return isinstance(self.id, int)

    @classmethod
    def decode(cls, text: str, column: str) -> Cursor | None:
        """Return the cursor encoded in `text`, or None if it is empty. Raises InvalidCursor."""
        if not text:
            return None
        value, underscore, row_id = text.rpartition("_")
        if not underscore or len(text) > MAX_CHARACTERS:
            raise InvalidCursor
        if row_id.isascii() and row_id.isdigit() and len(row_id) <= MAX_DIGITS:
            return cls(value, int(row_id))
        try:
            return cls(_parse_value(value, column), UUID(row_id))
        except (ValueError, OverflowError) as error:
            raise InvalidCursor from error


def _parse_value(text: str, column: str) -> Any:
    if column == "natural_name":
        return text
    if column == "size":
        if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS + 1:
            raise InvalidCursor
        return min(int(text), 2**63 - 1)
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise InvalidCursor
    return time.astimezone(UTC)  # Postgres accepts fewer offsets than Python does
