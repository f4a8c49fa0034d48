"""Names as searching, sorting and tags see them: without case, accents and compatibility forms."""

from __future__ import annotations

import re
import unicodedata

# Letters that Unicode does not take apart, as people without them on their keyboard write them. Letters "with stroke",
# "with hook" and the like (ł ø đ ħ ŧ ɓ) need no entry: their names tell.
_LETTERS = {
    "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ŋ": "n", "ĸ": "k", "ı": "i", "ȷ": "j", "ə": "e", "ǝ": "e", "ɛ": "e",
    "ɔ": "o",
    # Russian is customarily written without the dots, and stress marks are for learners. Other Cyrillic letters with
    # marks (й ї ў ѓ ќ ӣ) are letters of their own, and are not written without the mark.
    "ё": "е", "ѐ": "е", "ѝ": "и",
}  # fmt: skip
_LETTER_WITH = re.compile(r"LATIN SMALL LETTER ([A-Z]) WITH ")
_CYRILLIC = range(0x0400, 0x0530)
# Default_Ignorable_Code_Point: joiners, selectors, tags and what else is invisible.
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
    """The text without case, accents and compatibility forms: `Été №2.PDF` becomes `ete no2.pdf`, `Łódź` `lodz`.

    Both what is kept and what is searched for go through here. Folding twice changes nothing.
    """
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", plain.translate(_FOLDED))


class _Folded(dict[int, str]):
    """What becomes of each character of composed text; worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold_character(chr(code))
        return folded


def _fold_character(char: str) -> str:
    if char in _LETTERS or ord(char) in _CYRILLIC:
        return _LETTERS.get(char, char)
    parts = _ACCENT.sub("", _IGNORABLE.sub("", unicodedata.normalize("NFD", char)))
    return "".join(_LETTERS.get(part) or _without_stroke(part) for part in parts)


def _without_stroke(letter: str) -> str:
    named = _LETTER_WITH.match(unicodedata.name(letter, ""))
    return named[1].lower() if named else letter


_FOLDED = _Folded()
