"""Content-Type, Content-Disposition and Content-Encoding of downloads.

Content that a browser could run is never served inline.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from uploads.errors import ObjectMissing
from uploads.names import clean_name, shorten

if TYPE_CHECKING:
    from uploads.models import File

OCTET_STREAM = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
# Raster images, PDF, audio and video: a browser shows these without running code from them.
# Never add SVG, HTML, XML or JavaScript.
INLINE = {
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp",
    "application/pdf",
    "audio/mpeg", "audio/ogg", "audio/wav", "audio/x-wav", "audio/flac", "audio/x-flac",
    "audio/mp4", "audio/x-m4a", "audio/aac", "audio/webm",
    "video/mp4", "video/webm", "video/ogg", "video/x-m4v", "video/quicktime",
    "text/plain",
}  # fmt: skip


# Text with one of these extensions is code or markup, even if its first bytes look like plain text.
CODE_EXTENSIONS = {
    ".htm", ".html", ".js", ".mht", ".mhtml", ".mjs", ".mml", ".shtml", ".svg", ".xht", ".xhtml",
    ".xml", ".xsl", ".xslt",
}  # fmt: skip

MAX_FALLBACK_CHARACTERS = 60
# Characters of a quoted file name that clients read in different ways: browsers decode percent escapes and RFC 2047
# words, and clients disagree on quotes, backslashes and non-ASCII letters (RFC 6266, appendix D).
_AMBIGUOUS = re.compile(r'(?:[^ -~]|["\\%]|=\?)+')
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"  # besides letters and digits: RFC 8187, 3.2.1

MAX_ENCODING_CHARACTERS = 100
# Some SDKs sign a body that they send in chunks as `aws-chunked`. S3 removes the value with the framing (S3 API,
# "Signature calculations: transfer payload in multiple chunks"); other storages remove only the framing.
NOT_ENCODINGS = {"", "identity", "aws-chunked"}
# The extension for each registered encoding (IANA, "HTTP Content Coding Registry"), as its own tool writes it.
EXTENSIONS = {
    "br": ".br",
    "compress": ".Z",
    "deflate": ".zz",
    "gzip": ".gz",
    "x-compress": ".Z",
    "x-gzip": ".gz",
    "zstd": ".zst",
}
# Extensions of a name that already say so.
KNOWN_EXTENSIONS = {".gz": (".gz", ".tgz", ".svgz", ".emz", ".wmz"), ".zst": (".zst", ".tzst")}
MEDIA_TYPES = {".gz": "application/gzip", ".zst": "application/zstd", ".zz": "application/zlib"}
_UNUSABLE = re.compile(r"[^\x21-\x7e]+")


def may_be_inline(file: File) -> bool:
    """Return whether a browser may show the file, by its detected type, never by the declared type alone.

    A file that is stored compressed is served compressed, so no browser can show it.
    """
    if file.content_encoding:
        return False
    if file.detected_type == "text/plain" and PurePosixPath(file.name).suffix.lower() in CODE_EXTENSIONS:
        return False
    return file.detected_type in INLINE


def download_headers(file: File, *, inline: bool) -> tuple[str, str]:
    """Return Content-Type and Content-Disposition for a download of `file`. Raises ObjectMissing without an object.

    Inline only if requested and if the detected type is in INLINE; the declared type alone never decides.
    """
    if file.is_missing:
        raise ObjectMissing(file.name)
    if file.content_encoding:
        return stored_type(file.content_encoding), content_disposition(file.stored_name, inline=False)
    if not (inline and may_be_inline(file)):
        return OCTET_STREAM, content_disposition(file.name, inline=False)
    content_type = TEXT if file.detected_type == "text/plain" else file.detected_type
    return content_type, content_disposition(file.name, inline=True)


def content_disposition(name: str, *, inline: bool) -> str:
    """Return the Content-Disposition for a download of `name`, one line of ASCII (RFC 6266, RFC 8187).

    `filename` alone if every client reads it alike. Otherwise `filename*` has the name, and `filename` a short
    approximation for clients that know only that (`curl -OJ`).
    """
    name, kind = clean_name(name), "inline" if inline else "attachment"
    if not _AMBIGUOUS.search(name):
        return f'{kind}; filename="{name}"'
    fallback = shorten(_AMBIGUOUS.sub("_", name), MAX_FALLBACK_CHARACTERS)
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"


# --- Content-Encoding: RFC 9110, section 8.4 ----------------------------------------------------


def normalize_encoding(header: str) -> str:
    """Return the encodings in a Content-Encoding header, in the order in which they were applied: `gzip, br`.

    Empty for bytes that are not encoded. At most 100 characters of printable ASCII, whatever the header holds.
    """
    names = (_UNUSABLE.sub("", name).lower() for name in header.split(","))
    return ", ".join(name for name in names if name not in NOT_ENCODINGS)[:MAX_ENCODING_CHARACTERS]


def stored_name(name: str, encoding: str | None) -> str:
    """Return the name for the stored bytes of a file: `report.txt.gz` for a `report.txt` that is stored as gzip.

    A name that already has the extension stays as it is, for example `access.log.gz`.
    """
    for number, extension in enumerate(_extensions(encoding)):
        if number or not name.lower().endswith(KNOWN_EXTENSIONS.get(extension, (extension.lower(),))):
            name += extension
    return name


def stored_type(encoding: str) -> str:
    """Return the media type of bytes that are stored with this encoding, which is not empty."""
    extensions = _extensions(encoding)
    return MEDIA_TYPES.get(extensions[-1], OCTET_STREAM) if extensions else OCTET_STREAM


def _extensions(encoding: str | None) -> list[str]:
    return [EXTENSIONS[name] for name in (encoding or "").split(", ") if name in EXTENSIONS]
