"""The one place where a person's text meets a name: cleaning it, and putting it into a header."""

import unicodedata

from django.utils.http import content_disposition_header

MOST_CHARACTERS = 255
MOST_TYPED_CHARACTERS = 1_000  # more than any file system gives; such text is no name and is refused
MOST_FOLDER_CHARACTERS = 1_024
MOST_TYPE_CHARACTERS = 255
MOST_EXTENSION_CHARACTERS = 20
NAMELESS = "unnamed"

# Cc control, Cf invisible (bidi marks, zero-width, tags), Cs lone surrogates, Zl/Zp line ends.
# Co and Cn stay: private-use characters show as a box and hide nothing.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Invisible as well, but of other categories.
_FILLERS = dict.fromkeys([0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0])


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


def clean_type(text: str) -> str:
    """The media type a sender claims. It is only ever shown: what is not plain ASCII is dropped."""
    usable = len(text) <= MOST_TYPE_CHARACTERS and text.isascii() and text.isprintable()
    return text.strip().lower() if usable else ""


def disposition(name: str, *, inline: bool) -> str:
    """The Content-Disposition for a download of `name`, one line of ASCII (RFC 6266, RFC 8187)."""
    header = content_disposition_header(not inline, clean_name(name))
    return header or "attachment"


def _visible(text: str) -> str:
    text = text.translate(_FILLERS)
    kept = "".join(char for char in text if unicodedata.category(char) not in _INVISIBLE)
    return unicodedata.normalize("NFC", kept)


def _shorten(name: str) -> str:
    if len(name) <= MOST_CHARACTERS:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > MOST_EXTENSION_CHARACTERS:
        return name[:MOST_CHARACTERS].rstrip()
    return stem[: MOST_CHARACTERS - len(extension) - 1].rstrip() + dot + extension
