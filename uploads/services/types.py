"""What a file is, by its first bytes: libmagic's word, and our own for markup that hides in text."""

from __future__ import annotations

import functools
import re

import magic

BINARY_BYTES = 2048
TEXT_BYTES = 512  # libmagic tries hundreds of expressions on text: more bytes cost milliseconds a file
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MARKUP = re.compile(rb"<\s*(?:[\w-]+:)?(html|svg|script|iframe|body)\b", re.IGNORECASE)
UTF8_BOM = b"\xef\xbb\xbf"
EMPTY = "application/x-empty"
_UNKNOWN = {"application/octet-stream", EMPTY}


def detect_type(first_bytes: bytes) -> str:
    """The media type of content that begins so; empty when nothing can be told."""
    found = _of_binary(first_bytes) if _CONTROL.search(first_bytes) else _of_text(first_bytes)
    return "" if found in _UNKNOWN else found


def _of_binary(first_bytes: bytes) -> str:
    found = _magic().from_buffer(first_bytes[:BINARY_BYTES])
    # libmagic takes NULs at the end for padding, and what stands before them for words
    return "" if found == "text/plain" else found


def _of_text(first_bytes: bytes) -> str:
    found = _magic().from_buffer(first_bytes[:TEXT_BYTES])
    if not found.startswith("text/") or not first_bytes.removeprefix(UTF8_BOM).lstrip().startswith(b"<"):
        return found
    markup = _MARKUP.search(first_bytes)
    if markup:
        return "image/svg+xml" if markup[1].lower() == b"svg" else "text/html"
    return "text/xml" if found == "text/plain" else found


@functools.cache
def _magic() -> magic.Magic:
    return magic.Magic(mime=True)
