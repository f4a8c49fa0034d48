"""The one place where a person's text meets a name: cleaning it, and putting it into a header."""

import re
import unicodedata
from urllib.parse import quote

from uploads.normalization import normalize_for_search as normalize_for_search  # for all who ask for names

MAX_CHARACTERS = 255
MAX_TYPED_CHARACTERS = 1_000  # more than any file system gives; such text is no name and is refused
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

# Invisible characters that are spelling in some places: the two joiners, the Mongolian vowel separator, tags and
# variation selectors.
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

# A path of Windows, as old browsers send it: `C:\`, `\\server\`, `..\`.
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\|\.{1,2}\\")

# In a quoted file name, what clients read in different ways: browsers decode percent escapes and RFC 2047 words there,
# and clients do not agree on quotes, backslashes and other letters than ASCII (RFC 6266, appendix D).
_AMBIGUOUS = re.compile(r'(?:[^ -~]|["\\%]|=\?)+')
_SEPARATOR = re.compile(r"[:/\\]")
_BACKSLASHES = re.compile(r"\\+")
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"  # besides letters and digits: RFC 8187, 3.2.1


def clean_name(text: str) -> str:
    """The name a file is kept and shown under: 1 to 255 characters of NFC text.

    Path parts, control, bidi and zero-width characters go; letters of any script stay, with the joiners that they
    are spelled with. Backslashes become `_`, except in a path of Windows. A name that is too long loses its
    middle, never its extension. Cleaning twice changes nothing.
    """
    name = _with_slashes(_visible(text)).rsplit("/", maxsplit=1)[-1]
    name = _visible(_shorten(name.strip()))  # a cut can leave a joiner without its second letter
    return name if name.strip(". ") else DEFAULT_NAME


def clean_folder(text: str) -> str:
    """A relative folder path like `Brand/Logos`, each segment a clean name; empty and `.`/`..` ones go."""
    segments = (segment.strip() for segment in _with_slashes(_visible(text)).split("/"))
    return "/".join(clean_name(segment) for segment in segments if segment.strip(". "))


def extensions_of(name: str) -> set[str]:
    """The extensions, as `.exe`, that some file system finds in the name: of `run.exe. .`, `run.exe::$DATA`,
    `run．exe` and `.exe` alike.

    Windows drops dots and blanks at the end, and names a stream of the file after a colon; compatibility forms are
    made plain, as some file systems and tools do.
    """
    plain = _visible(unicodedata.normalize("NFKC", name)).casefold()
    pieces = (piece.rstrip(". ") for piece in _SEPARATOR.split(plain))
    return {dot + extension for _stem, dot, extension in (piece.rpartition(".") for piece in pieces) if dot}


def clean_type(text: str) -> str:
    """The media type a sender claims. It is only ever shown: what is not plain ASCII is dropped."""
    usable = len(text) <= MAX_TYPE_CHARACTERS and text.isascii() and text.isprintable()
    return text.strip().lower() if usable else ""


def disposition(name: str, *, inline: bool) -> str:
    """The Content-Disposition for a download of `name`, one line of ASCII (RFC 6266, RFC 8187).

    `filename` alone where every client reads it alike. Otherwise it is a short approximation for clients that know
    nothing else (`curl -OJ`), and `filename*` has the name.
    """
    name, kind = clean_name(name), "inline" if inline else "attachment"
    if not _AMBIGUOUS.search(name):
        return f'{kind}; filename="{name}"'
    fallback = _shorten(_AMBIGUOUS.sub("_", name), MAX_FALLBACK_CHARACTERS)
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    kept = "".join(char for char in text.translate(_FILLERS) if not _is_invisible(char))
    text = unicodedata.normalize("NFC", kept)
    while (spelled := unicodedata.normalize("NFC", _SPELLING.sub(r"\1", _REPEATED.sub(r"\1\2", text)))) != text:
        text = spelled  # what is gone can bring marks into another order
    return text


def _is_invisible(char: str) -> bool:
    """Whether the character is invisible wherever it stands."""
    if unicodedata.category(char) not in _INVISIBLE:
        return False
    return char not in _VISIBLE_FORMAT and char not in _CONTEXTUAL_FORMAT


def _with_slashes(text: str) -> str:
    return _BACKSLASHES.sub("/" if _WINDOWS_PATH.match(text.strip()) else "_", text)


def _shorten(name: str, most: int = MAX_CHARACTERS) -> str:
    if len(name) <= most:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > MAX_EXTENSION_CHARACTERS:
        return name[:most].rstrip()
    return stem[: most - len(extension) - 1].rstrip() + dot + extension
