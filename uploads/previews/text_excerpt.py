"""The beginning of a text, as UTF-8."""

from __future__ import annotations

import re

from uploads.previews.text_encoding import decode

EXCERPT_BYTES = 64 * 1024
# A page ends where a line ends, and so does a line by other signs than ours.
LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Controls but tab and line ends, and what turns the direction of writing round: it can make code read otherwise
# than it runs.
HIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def excerpt_of(beginning: bytes) -> bytes:
    """What the first bytes of a text say, without control characters. Never more than three times as many."""
    return HIDDEN.sub("", LINE_ENDS.sub("\n", decode(beginning[:EXCERPT_BYTES]))).encode()
