"""Clean the names, folder paths and types that clients send, and format names for headers."""

import re
import unicodedata
from urllib.parse import quote

from uploads.normalization import normalize_for_search as normalize_for_search  # re-exported for callers of this module

MAX_CHARACTERS = 255
MAX_TYPED_CHARACTERS = 1_000  # longer than any file system allows; longer input is refused
MAX_FOLDER_CHARACTERS = 1_024
MAX_TYPE_CHARACTERS = 255
MAX_EXTENSION_CHARACTERS = 20
MAX_FALLBACK_CHARACTERS = 60
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

# Characters of a quoted file name that clients read in different ways: browsers decode percent escapes and RFC 2047
# words, and clients disagree on quotes, backslashes and non-ASCII letters (RFC 6266, appendix D).
_AMBIGUOUS = re.compile(r'(?:[^ -~]|["\\%]|=\?)+')
_SEPARATOR = re.compile(r"[:/\\]")
_BACKSLASHES = re.compile(r"\\+")
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"  # besides letters and digits: RFC 8187, 3.2.1


def clean_name(text: str) -> str:
    """Return the name to store and show for a file: 1 to 255 characters of NFC text.

    Removes path parts and control, bidi and zero-width characters; keeps letters of any script, with the joiners of
    their spelling. Backslashes become `_`, except in a Windows path. A name that is too long loses the end of its
    stem, never its extension. Cleaning twice changes nothing.
    """
    name = _with_slashes(_visible(text)).rsplit("/", maxsplit=1)[-1]
    name = _visible(_shorten(name.strip()))  # shortening can leave a joiner without its second letter
    return name if name.strip(". ") else DEFAULT_NAME


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


def disposition(name: str, *, inline: bool) -> str:
    """Return the Content-Disposition for a download of `name`, one line of ASCII (RFC 6266, RFC 8187).

    `filename` alone if every client reads it alike. Otherwise `filename*` has the name, and `filename` a short
    approximation for clients that know only that (`curl -OJ`).
    """
    name, kind = clean_name(name), "inline" if inline else "attachment"
    if not _AMBIGUOUS.search(name):
        return f'{kind}; filename="{name}"'
    fallback = _shorten(_AMBIGUOUS.sub("_", name), MAX_FALLBACK_CHARACTERS)
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"


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


def _shorten(name: str, limit: int = MAX_CHARACTERS) -> str:
    if len(name) <= limit:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > MAX_EXTENSION_CHARACTERS:
        return name[:limit].rstrip()
    return stem[: limit - len(extension) - 1].rstrip() + dot + extension
