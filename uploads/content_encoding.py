"""Content-Encoding (RFC 9110, section 8.4): its normal form, and the name and type of encoded bytes."""

from __future__ import annotations

import re

MAX_CHARACTERS = 100
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
OCTET_STREAM = "application/octet-stream"
_UNUSABLE = re.compile(r"[^\x21-\x7e]+")


def normalize(header: str) -> str:
    """Return the encodings in a Content-Encoding header, in the order in which they were applied: `gzip, br`.

    Empty for bytes that are not encoded. At most 100 characters of printable ASCII, whatever the header holds.
    """
    names = (_UNUSABLE.sub("", name).lower() for name in header.split(","))
    return ", ".join(name for name in names if name not in NOT_ENCODINGS)[:MAX_CHARACTERS]


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
