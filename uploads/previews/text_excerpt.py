"""The beginning of a text, as UTF-8."""

from __future__ import annotations

import re

from uploads.previews.text_encoding import decode

EXCERPT_BYTES = 64 * 1024
# Line ends other than \n, which they are replaced by.
LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Control characters except tab and line ends, and bidirectional controls, which can make code look different from
# what it does.
HIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def excerpt_of(beginning: bytes) -> bytes:
    """Return the first EXCERPT_BYTES of a text as UTF-8, without control characters.

    The result has at most three times as many bytes.
    """
    return HIDDEN.sub("", LINE_ENDS.sub("\n", decode(beginning[:EXCERPT_BYTES]))).encode()
