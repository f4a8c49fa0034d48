"""Normalize names for search, sorting and tags: without case, accents and compatibility forms."""

from __future__ import annotations

import re
import unicodedata

# Letters that Unicode does not decompose, as people without them on their keyboard write them. Letters "with stroke",
# "with hook" and the like (ł ø đ ħ ŧ ɓ) need no entry: their Unicode names give the base letter.
_LETTERS = {
    "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ŋ": "n", "ĸ": "k", "ı": "i", "ȷ": "j", "ə": "e", "ǝ": "e", "ɛ": "e",
    "ɔ": "o",
    # Russian is customarily written without the dots, and stress marks are for learners. Other Cyrillic letters with
    # marks (й ї ў ѓ ќ ӣ) are letters of their own, and are not written without the mark.
    "ё": "е", "ѐ": "е", "ѝ": "и",
}  # fmt: skip
_LETTER_WITH = re.compile(r"LATIN SMALL LETTER ([A-Z]) WITH ")
_CYRILLIC = range(0x0400, 0x0530)
# Default_Ignorable_Code_Point: joiners, selectors, tags and other invisible characters.
_IGNORABLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e0fff]"
)
# Marks that are accents (of Latin, Greek and Cyrillic) or that are usually not written (Hebrew, Arabic, Syriac). All
# others are letters or parts of letters: vowels and viramas of Indic scripts, the dakuten of kana.
_ACCENT = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\ufb1e"
    "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a"
    "\u0898-\u089f\u08ca-\u08e1\u08e3-\u08ff]"
)


def normalize_for_search(text: str) -> str:
    """Return the text without case, accents and compatibility forms: `ete no2.pdf` for `Été №2.PDF`, `lodz` for `Łódź`.

    Stored names and search terms are both normalized by it. Normalizing twice changes nothing.
    """
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", plain.translate(_CHARACTER_MAP))


class _CharacterMap(dict[int, str]):
    """A table for str.translate that computes the entry of a character when it is first used."""

    def __missing__(self, code: int) -> str:
        self[code] = normalized = _normalize_character(chr(code))
        return normalized


def _normalize_character(char: str) -> str:
    if char in _LETTERS or ord(char) in _CYRILLIC:
        return _LETTERS.get(char, char)
    parts = _ACCENT.sub("", _IGNORABLE.sub("", unicodedata.normalize("NFD", char)))
    return "".join(_LETTERS.get(part) or _without_stroke(part) for part in parts)


def _without_stroke(letter: str) -> str:
    match = _LETTER_WITH.match(unicodedata.name(letter, ""))
    return match[1].lower() if match else letter


_CHARACTER_MAP = _CharacterMap()
