"""What a Content-Encoding (RFC 9110, section 8.4) says of stored bytes."""

from __future__ import annotations

import re

MAX_CHARACTERS = 100
# `aws-chunked` is how some SDKs sign a body that they send in pieces. S3 takes it off with the framing
# (S3 API, "Signature calculations: transfer payload in multiple chunks"), other stores take off the framing alone.
NOT_ENCODINGS = {"", "identity", "aws-chunked"}
# The extensions of what the encodings of the registry (IANA, "HTTP Content Coding Registry") make, as their own tools
# write them; those that a name may have already, and the media types.
EXTENSIONS = {
    "br": ".br",
    "compress": ".Z",
    "deflate": ".zz",
    "gzip": ".gz",
    "x-compress": ".Z",
    "x-gzip": ".gz",
    "zstd": ".zst",
}
ALREADY = {".gz": (".gz", ".tgz", ".svgz", ".emz", ".wmz"), ".zst": (".zst", ".tzst")}
TYPES = {".gz": "application/gzip", ".zst": "application/zstd", ".zz": "application/zlib"}
OCTET_STREAM = "application/octet-stream"
_UNUSABLE = re.compile(r"[^\x21-\x7e]+")


def normalize(header: str) -> str:
    """The encodings that a Content-Encoding header names, in the order in which they were applied: `gzip, br`.

    Empty for bytes that are stored as they are. At most 100 characters of printable ASCII, whatever the header holds.
    """
    named = (_UNUSABLE.sub("", name).lower() for name in header.split(","))
    return ", ".join(name for name in named if name not in NOT_ENCODINGS)[:MAX_CHARACTERS]


def stored_name(name: str, encoding: str | None) -> str:
    """What to call the stored bytes of a file: `report.txt.gz` for a `report.txt` that is kept as gzip.

    A name that says so already stays, as that of `access.log.gz` does.
    """
    for number, extension in enumerate(_extensions(encoding)):
        if number or not name.lower().endswith(ALREADY.get(extension, (extension.lower(),))):
            name += extension
    return name


def stored_type(encoding: str) -> str:
    """The media type of bytes that are kept under this encoding, which is not empty."""
    extensions = _extensions(encoding)
    return TYPES.get(extensions[-1], OCTET_STREAM) if extensions else OCTET_STREAM


def _extensions(encoding: str | None) -> list[str]:
    return [EXTENSIONS[name] for name in (encoding or "").split(", ") if name in EXTENSIONS]
