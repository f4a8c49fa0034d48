"""What a Content-Encoding (RFC 9110, section 8.4) says of stored bytes."""

from __future__ import annotations

import re

MOST_CHARACTERS = 100
# `aws-chunked` is how some SDKs sign a body that they send in pieces. S3 takes it off with the framing
# (S3 API, "Signature calculations: transfer payload in multiple chunks"), other stores take off the framing alone.
NOT_ENCODINGS = {"", "identity", "aws-chunked"}
_UNUSABLE = re.compile(r"[^\x21-\x7e]+")


def normalize(header: str) -> str:
    """The encodings that a Content-Encoding header names, in the order in which they were applied: `gzip, br`.

    Empty for bytes that are stored as they are. At most 100 characters of printable ASCII, whatever the header holds.
    """
    named = (_UNUSABLE.sub("", name).lower() for name in header.split(","))
    return ", ".join(name for name in named if name not in NOT_ENCODINGS)[:MOST_CHARACTERS]
