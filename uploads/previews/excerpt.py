"""The beginning of a text, as UTF-8."""

from __future__ import annotations

import codecs
import re

EXCERPT_BYTES = 64 * 1024
# Longest first: UTF-32's little-endian mark begins with UTF-16's.
MARKS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
# Controls but tab and line ends, and what turns the direction of writing round: it can make code read otherwise
# than it runs.
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def excerpt_of(beginning: bytes) -> bytes:
    """What the first bytes of a text say, without control characters. Never more than three times as many."""
    text = _decoded(beginning[:EXCERPT_BYTES]).replace("\r\n", "\n").replace("\r", "\n")
    return HIDDEN.sub("", text).encode()


def _decoded(raw: bytes) -> str:
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(encoding, errors="replace").removesuffix("\ufffd")
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(raw)  # a character may be cut at the end
    except UnicodeDecodeError:
        return raw.decode(_unmarked(raw), errors="replace")


def _unmarked(raw: bytes) -> str:
    """UTF-16 by its zeros in every other byte, else Latin-1, in which any byte is a character."""
    pairs = max(1, len(raw) // 2)
    if raw[1::2].count(0) > pairs // 2:
        return "utf-16-le"
    return "utf-16-be" if raw[0::2].count(0) > pairs // 2 else "latin-1"
