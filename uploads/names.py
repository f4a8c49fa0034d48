"""Clean the names, folder paths and types that clients send, and normalize names for search, sorting and tags."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MAX_CHARACTERS = 255
MAX_TYPED_CHARACTERS = 1_000  # longer than any file system allows; longer input is refused
MAX_FOLDER_CHARACTERS = 1_024
MAX_TYPE_CHARACTERS = 255
MAX_EXTENSION_CHARACTERS = 20
DEFAULT_NAME = "unnamed"

# Cc control, Cf format characters, Cs lone surrogates, Zl/Zp line ends.
# Co and Cn stay: private-use characters show as a box and hide nothing.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Invisible as well, but of other categories.
_FILLERS = dict.fromkeys([0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0])
# Format characters that can be seen: signs that enclose the digits after them (Prepended_Concatenation_Mark).
_VISIBLE_FORMAT = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")

# Invisible characters that belong to the spelling in some contexts: the two joiners, the Mongolian vowel separator,
# tags and variation selectors.
_SELECTOR = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_JOINER = "\u200c\u200d"
_CONTEXTUAL = f"{_JOINER}\u180e\U000e0020-\U000e007f{_SELECTOR}"
IGNORABLE = re.compile(f"[{_CONTEXTUAL}]")
_CONTEXTUAL_FORMAT = frozenset("\u200c\u200d\u180e") | frozenset(map(chr, range(0xE0020, 0xE0080)))
# Scripts whose letters join or stack: Arabic to Sinhala, Myanmar, Khmer, Mongolian and their relatives.
_JOINING = (
    "\u0600-\u0dff\u1000-\u109f\u1700-\u180a\u1810-\u18af\u1900-\u1c4f\u1cd0-\u1cff\ua840-\ua8ff\ua980-\uaa7f\uaae0-\uaaff"
    "\uabc0-\uabff\ufb50-\ufdff\ufe70-\ufefc\U00010ac0-\U00010aff\U00010b80-\U00010baf\U00010d00-\U00010d3f"
    "\U00010f30-\U00010fdf\U00011000-\U00011fff\U0001e900-\U0001e95f"
)
_VIRAMA = "".join(char for char in map(chr, range(0x900, 0x12000)) if unicodedata.combining(char) == 9)
# Extended_Pictographic of UTS #51, by its blocks, and the skin tones.
_EMOJI = (
    "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001faff"
)
_SPELLING = re.compile(
    "("
    f"(?<=[{_JOINING}])[{_JOINER}](?=[{_JOINING}])"  # می‌خواهم, র‍্য
    f"|(?<=[{_VIRAMA}])[{_JOINER}]"  # RFC 5892, A.1 and A.2; also at the end: അവന്‍
    "|(?<=[\u0620-\u077f\u08a0-\u08ff])\u200d"  # an Arabic letter in the form that joins: ه‍
    "|(?<=\u0647)\u200c"  # the Kurdish e at the end of a word, as written before U+06D5
    f"|(?:(?<=[{_EMOJI}])|(?<=[{_EMOJI}]\ufe0f))\u200d(?=[{_EMOJI}])"  # UTS #51, emoji ZWJ sequences
    "|(?<=[\u180b-\u180d\u180f\u1820-\u18aa])\u180e(?=[\u1820-\u18aa])"  # Mongolian final vowels
    "|\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"  # UTS #51, flags of subdivisions
    f"|(?<=[0-9#*\xa9\xae\u0530-\u180d\u180f-\u200b\u200e-\ufdff\ufe10-\U000dffff])[{_SELECTOR}]"
    f")|[{_CONTEXTUAL}]"
)
_REPEATED = re.compile(f"([{_JOINER}\u180e])[{_JOINER}\u180e]+|([{_SELECTOR}])[{_SELECTOR}]+")

# A Windows path, as old browsers send it: `C:\`, `\\server\`, `..\`.
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\|\.{1,2}\\")

# The number of a copy, as in `export (2).csv`.
_NUMBER = re.compile(r" \(([1-9][0-9]{0,5})\)\Z")
_MAX_NUMBER_CHARACTERS = len(" (999999)")

_SEPARATOR = re.compile(r"[:/\\]")
_BACKSLASHES = re.compile(r"\\+")


def clean_name(text: str) -> str:
    """Return the name to store and show for a file: 1 to 255 characters of NFC text.

    Removes path parts and control, bidi and zero-width characters; keeps letters of any script, with the joiners of
    their spelling. Backslashes become `_`, except in a Windows path. A name that is too long loses the end of its
    stem, never its extension. Cleaning twice changes nothing.
    """
    name = _with_slashes(_visible(text)).rsplit("/", maxsplit=1)[-1]
    name = _visible(shorten(name.strip()))  # shortening can leave a joiner without its second letter
    return name if name.strip(". ") else DEFAULT_NAME


def clean_text(text: str) -> str:
    """Return a line of text, such as a person's name, without control, bidi and zero-width characters."""
    return " ".join(_visible(text).split())


def clean_folder(text: str) -> str:
    """Return a relative folder path like `Brand/Logos` of clean names, without empty, `.` and `..` segments."""
    segments = (segment.strip() for segment in _with_slashes(_visible(text)).split("/"))
    return "/".join(clean_name(segment) for segment in segments if segment.strip(". "))


def extensions_of(name: str) -> set[str]:
    """Return the extensions that any file system finds in the name: `.exe` for each of `run.exe. .`,
    `run.exe::$DATA`, `run．exe` and `.exe`.

    Windows drops trailing dots and spaces, and names a stream of the file after a colon. Compatibility forms are
    normalized, as some file systems and tools do.
    """
    plain = _visible(unicodedata.normalize("NFKC", name)).casefold()
    pieces = (piece.rstrip(". ") for piece in _SEPARATOR.split(plain))
    return {dot + extension for _stem, dot, extension in (piece.rpartition(".") for piece in pieces) if dot}


def clean_type(text: str) -> str:
    """Return the declared media type in lower case, for display; empty if it is too long or not printable ASCII."""
    usable = len(text) <= MAX_TYPE_CHARACTERS and text.isascii() and text.isprintable()
    return text.strip().lower() if usable else ""


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    visible = "".join(char for char in text.translate(_FILLERS) if not _is_invisible(char))
    text = unicodedata.normalize("NFC", visible)
    while (respelled := unicodedata.normalize("NFC", _SPELLING.sub(r"\1", _REPEATED.sub(r"\1\2", text)))) != text:
        text = respelled  # removing characters can change the order of marks
    return text


def _is_invisible(char: str) -> bool:
    """Return whether the character is invisible in every context."""
    if unicodedata.category(char) not in _INVISIBLE:
        return False
    return char not in _VISIBLE_FORMAT and char not in _CONTEXTUAL_FORMAT


def _with_slashes(text: str) -> str:
    return _BACKSLASHES.sub("/" if _WINDOWS_PATH.match(text.strip()) else "_", text)


def shorten(name: str, limit: int = MAX_CHARACTERS) -> str:
    """Return the name with at most `limit` characters: the end of its stem goes, not its extension."""
    if len(name) <= limit:
        return name
    stem, extension = split_extension(name)
    return stem[: limit - len(extension)].rstrip() + extension


def split_extension(name: str) -> tuple[str, str]:
    """Return the stem and the extension with its dot; the extension is empty if there is none, or a very long one."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and len(extension) <= MAX_EXTENSION_CHARACTERS else (name, "")


def numbered(name: str, step: int) -> str:
    """Return the name with its number increased by `step`, before the extension; a name without a number has 1.

    `export.csv` becomes `export (2).csv` in one step, and that `export (3).csv` in another.
    """
    stem, extension = split_extension(name)
    number = 1
    if match := _NUMBER.search(stem[-_MAX_NUMBER_CHARACTERS:]):
        stem, number = stem[: -len(match[0])], int(match[1])
    end = f" ({number + step}){extension}"
    return stem[: MAX_CHARACTERS - len(end)].rstrip() + end


# --- normalization for search ------------------------------------------------------------------

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
_DEFAULT_IGNORABLE = re.compile(
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


def contains_words(name: str, search: str) -> bool:
    """Return whether the name contains each word of the search, ignoring case and accents."""
    normalized = normalize_for_search(name)
    return all(word in normalized for word in normalize_for_search(search).split())


def matched_ranges(name: str, search: str, *, words: bool = False) -> list[tuple[int, int]]:
    """Return start and end of each part of the name that a word of the search matches, in order, without overlaps.

    With `words`, only at the beginning of a word. A match that begins or ends inside a character, such as the `t` of
    `№`, includes the whole character.
    """
    normalized, places = _normalize_with_places(name)
    matches = []
    for word in set(normalize_for_search(search).split()):
        at = normalized.find(word)
        while at >= 0:
            if not words or not _is_inside_word(normalized, at):
                matches.append((places[at][0], places[at + len(word) - 1][1]))
            at = normalized.find(word, at + 1)
    ranges: list[tuple[int, int]] = []
    for start, end in sorted(matches):
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((start, end))
    return ranges


def _normalize_with_places(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the normalized text, and for each of its characters start and end of the original one."""
    if text.isascii():
        return normalize_for_search(text), [(place, place + 1) for place in range(len(text))]
    normalized, places = "", []
    for start, end in _characters(text):
        piece = normalize_for_search(text[start:end])
        normalized += piece
        places += [(start, end)] * len(piece)
    return normalized, places


def _characters(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each character with the marks that follow it."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not unicodedata.category(text[end]).startswith("M"):
            yield start, end
            start = end


class _CharacterMap(dict[int, str]):
    """A table for str.translate that computes the entry of a character when it is first used."""

    def __missing__(self, code: int) -> str:
        self[code] = normalized = _normalize_character(chr(code))
        return normalized


def _normalize_character(char: str) -> str:
    if char in _LETTERS or ord(char) in _CYRILLIC:
        return _LETTERS.get(char, char)
    parts = _ACCENT.sub("", _DEFAULT_IGNORABLE.sub("", unicodedata.normalize("NFD", char)))
    return "".join(_LETTERS.get(part) or _without_stroke(part) for part in parts)


def _without_stroke(letter: str) -> str:
    match = _LETTER_WITH.match(unicodedata.name(letter, ""))
    return match[1].lower() if match else letter


_CHARACTER_MAP = _CharacterMap()


# --- words of texts ----------------------------------------------------------------------------

MAX_WORD_CHARACTERS = 100
MAX_WORD_BYTES = 400_000  # of all words of a text together; a tsvector has up to 1 MiB
MIN_PREFIX_CHARACTERS = 3  # too many words begin with fewer
CHUNK_CHARACTERS = 1_000
# Scripts without spaces between words: Thai, Lao, Myanmar, Khmer, kana, ideographs.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)


def index_words(text: str) -> list[str]:
    """Return the different words of a text, normalized like names, up to MAX_WORD_BYTES.

    Scripts without spaces give each pair of neighboring characters instead, and the last character.
    """
    words: dict[str, None] = {}
    size = 0
    for _start, chunk in _chunks(text):
        for piece, is_unspaced in _pieces(normalize_for_search(chunk)):
            for word in [*_pairs(piece), piece[-1]] if is_unspaced else [piece[:MAX_WORD_CHARACTERS]]:
                if word in words:
                    continue
                words[word] = None
                size += len(word.encode())
                if size > MAX_WORD_BYTES:
                    return list(words)
    return list(words)


def search_terms(search: str) -> list[tuple[str, bool]]:
    """Return the words of a search as `index_words` has them, and whether each can be the beginning of a longer one."""
    terms: dict[tuple[str, bool], None] = {}
    for piece, is_unspaced in _pieces(normalize_for_search(search)):
        if not is_unspaced:
            terms[piece[:MAX_WORD_CHARACTERS], len(piece) >= MIN_PREFIX_CHARACTERS] = None
        elif len(piece) > 1:
            terms |= dict.fromkeys((pair, False) for pair in _pairs(piece))
        else:
            terms[piece, True] = None
    return list(terms)


def matched_excerpt(text: str, search: str, *, characters: int) -> str:
    """Return the part of a text around the first word that begins with one of the search; empty if there is none."""
    words = [word for word, _is_prefix in search_terms(search)]
    for start, chunk in _chunks(text):
        normalized = normalize_for_search(chunk)
        if all(_find_word(normalized, word) < 0 for word in words):
            continue
        normalized, places = _normalize_with_places(chunk)
        matches = [at for at in (_find_word(normalized, word) for word in words) if at >= 0]
        if matches:
            return _excerpt(text, start + places[min(matches)][0], characters)
    return ""


def _excerpt(text: str, place: int, characters: int) -> str:
    first = max(0, place - characters // 3)
    first = text.find(" ", first, place) + 1 or first if first else 0
    last = first + characters
    return ("…" if first else "") + text[first:last].strip() + ("…" if last < len(text) else "")


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the text in pieces that end at a space, each with its start. Much longer words are cut."""
    start = 0
    while start < len(text):
        end = text.find(" ", start + CHUNK_CHARACTERS, start + 2 * CHUNK_CHARACTERS)
        end = start + 2 * CHUNK_CHARACTERS if end < 0 else end
        yield start, text[start:end]
        start = end


def _pieces(normalized: str) -> Iterator[tuple[str, bool]]:
    """Yield runs of letters, digits and marks, and whether their script has no spaces."""
    for word in normalized.translate(_WORD_MAP).split():
        last = 0
        for run in _UNSPACED.finditer(word):
            if run.start() > last:
                yield word[last : run.start()], False
            yield run[0], True
            last = run.end()
        if last < len(word):
            yield word[last:], False


def _pairs(piece: str) -> list[str]:
    return [piece[at : at + 2] for at in range(len(piece) - 1)]


def _find_word(normalized: str, word: str) -> int:
    """Return the place of the first word that begins with this one, or -1."""
    at = normalized.find(word)
    while at > 0 and _is_inside_word(normalized, at):
        at = normalized.find(word, at + 1)
    return at


def _is_inside_word(normalized: str, at: int) -> bool:
    return at > 0 and normalized[at - 1].isalnum() and not _UNSPACED.match(normalized, at)


class _WordMap(dict[int, str]):
    """A table for str.translate that leaves letters, digits and marks, and makes all else a space."""

    def __missing__(self, code: int) -> str:
        self[code] = char = chr(code) if unicodedata.category(chr(code))[0] in "LNM" else " "
        return char


_WORD_MAP = _WordMap()
