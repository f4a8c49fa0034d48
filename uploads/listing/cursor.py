"""A place in a list: the last entry of a page, as the link to the next page says it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

MAX_CHARACTERS = 4_000
MAX_DIGITS = 18  # a folder's id; a file's has 32 or more characters


class InvalidCursor(ValueError):
    """Nobody made this link: it was tampered with, or belongs to another order."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The value that the list is sorted by, and the id that tells equal values apart: a number for a folder."""

    value: Any
    id: UUID | int

    def __str__(self) -> str:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        return f"{value}_{self.id}"

    @property
    def among_folders(self) -> bool:
        return isinstance(self.id, int)

    @classmethod
    def read(cls, text: str, column: str) -> Cursor | None:
        """None for no text. Raises BadSpot."""
        if not text:
            return None
        value, underscore, last = text.rpartition("_")
        if not underscore or len(text) > MAX_CHARACTERS:
            raise InvalidCursor
        if last.isascii() and last.isdigit() and len(last) <= MAX_DIGITS:
            return cls(value, int(last))
        try:
            return cls(_value(value, column), UUID(last))
        except (ValueError, OverflowError) as error:
            raise InvalidCursor from error


def _value(text: str, column: str) -> Any:
    if column == "folded":
        return text
    if column == "size":
        if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS + 1:
            raise InvalidCursor
        return min(int(text), 2**63 - 1)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise InvalidCursor
    return moment.astimezone(UTC)  # Postgres takes fewer offsets than Python does
