"""The one place where a person's text meets a name: cleaning it, and putting it into a header."""

import re
import unicodedata
from urllib.parse import quote

MOST_CHARACTERS = 255
MOST_TYPED_CHARACTERS = 1_000  # more than any file system gives; such text is no name and is refused
MOST_FOLDER_CHARACTERS = 1_024
MOST_TYPE_CHARACTERS = 255
MOST_EXTENSION_CHARACTERS = 20
MAX_FALLBACK_CHARACTERS = 60
NAMELESS = "unnamed"

OFFICE = (
    "application/vnd.openxmlformats-officedocument.",
    "application/vnd.oasis.opendocument.",
    "application/vnd.ms-",
)
FAMILIES = {
    "application/pdf": "pdf",
    "application/msword": "document",
    "application/rtf": "document",
    "text/rtf": "document",
    "application/epub+zip": "document",
    "application/json": "text",
    "application/javascript": "text",
    "application/xml": "text",
    "application/x-sh": "text",
    "application/x-yaml": "text",
    "application/sql": "text",
    "application/zip": "archive",
    "application/gzip": "archive",
    "application/x-7z-compressed": "archive",
    "application/x-bzip2": "archive",
    "application/x-rar-compressed": "archive",
    "application/vnd.rar": "archive",
    "application/x-tar": "archive",
    "application/x-xz": "archive",
    "application/zstd": "archive",
}

# Cc control, Cf invisible (bidi marks, zero-width, tags), Cs lone surrogates, Zl/Zp line ends.
# Co and Cn stay: private-use characters show as a box and hide nothing.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Invisible as well, but of other categories.
_FILLERS = dict.fromkeys([0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0])

# In a quoted file name, what clients read in different ways: browsers decode percent escapes and RFC 2047 words there,
# and nobody agrees on quotes, backslashes and other letters than ASCII (RFC 6266, appendix D).
_AMBIGUOUS = re.compile(r'(?:[^ -~]|["\\%]|=\?)+')
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"  # besides letters and digits: RFC 8187, 3.2.1


def clean_name(text: str) -> str:
    """The name a file is kept and shown under: 1 to 255 characters of NFC text.

    Path parts, control, bidi and zero-width characters go; whatever letters are left, in any script,
    stay. A name that is too long loses its middle, never its extension. Cleaning twice changes nothing.
    """
    name = _visible(text.replace("\\", "/")).rsplit("/", maxsplit=1)[-1]
    name = _shorten(name.strip())
    return name if name.strip(". ") else NAMELESS


def clean_folder(text: str) -> str:
    """A relative folder path like `Brand/Logos`, each segment a clean name; empty and `.`/`..` ones go."""
    segments = (segment.strip() for segment in _visible(text.replace("\\", "/")).split("/"))
    return "/".join(clean_name(segment) for segment in segments if segment.strip(". "))


def fold(text: str) -> str:
    """The text as searching and sorting see it: no case, no accents, compatibility forms made plain.

    `Été №2.PDF` becomes `ete no2.pdf`. Both what is kept and what is searched for go through here.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return unicodedata.normalize("NFC", bare)


def extensions_of(name: str) -> set[str]:
    """The extensions, as `.exe`, that some file system finds in the name: of `run.exe. .`, `run.exe::$DATA`,
    `run．exe` and `.exe` alike.

    Windows drops dots and blanks at the end, and names a stream of the file after a colon; compatibility forms are
    made plain, as some file systems and tools do.
    """
    plain = unicodedata.normalize("NFKC", _visible(name)).casefold()
    pieces = (piece.rstrip(". ") for piece in re.split(r"[:/\\]", plain))
    return {dot + extension for _stem, dot, extension in (piece.rpartition(".") for piece in pieces) if dot}


def family_of(media_type: str) -> str:
    """Which of a few families a media type belongs to, as the model's Family has them."""
    media_type = media_type.partition(";")[0].strip().lower()
    major = media_type.partition("/")[0]
    if media_type in FAMILIES:
        return FAMILIES[media_type]
    if major in {"image", "video", "audio", "text"}:
        return major
    return "document" if media_type.startswith(OFFICE) else "other"


def clean_type(text: str) -> str:
    """The media type a sender claims. It is only ever shown: what is not plain ASCII is dropped."""
    usable = len(text) <= MOST_TYPE_CHARACTERS and text.isascii() and text.isprintable()
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
    text = text.translate(_FILLERS)
    kept = "".join(char for char in text if unicodedata.category(char) not in _INVISIBLE)
    return unicodedata.normalize("NFC", kept)


def _shorten(name: str, most: int = MOST_CHARACTERS) -> str:
    if len(name) <= most:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > MOST_EXTENSION_CHARACTERS:
        return name[:most].rstrip()
    return stem[: most - len(extension) - 1].rstrip() + dot + extension
