"""Text of two or four bytes a letter, which looks like binary data until that is known."""

from __future__ import annotations

import codecs

# Longest first: UTF-32's little-endian mark begins with UTF-16's.
MARKS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
SPACES = b" \t\r\n"


def marked_encoding(raw: bytes) -> tuple[bytes, str]:
    """The mark that the text begins with and what it stands for; empty when there is none."""
    return next(((mark, encoding) for mark, encoding in MARKS if raw.startswith(mark)), (b"", ""))


def unmarked_wide_encoding(raw: bytes) -> str:
    """UTF-16 without a mark: by the zeros of its Latin letters, or of the spaces and line ends that all text has."""
    if not raw or 0 not in raw:
        return ""
    first, second = raw[0::2], raw[1::2]
    for encoding, high, low in (("utf-16-le", second, first), ("utf-16-be", first, second)):
        zeros, others = high.count(0), low.count(0)
        if zeros > len(high) // 2 and not others:
            return encoding
        if zeros >= others and _spaces(high, low) and not _spaces(low, high) and _is_valid(raw, encoding):
            return encoding
    return ""


def _spaces(high: bytes, low: bytes) -> int:
    return sum(one == 0 and other in SPACES for one, other in zip(high, low, strict=False))


def _is_valid(raw: bytes, encoding: str) -> bool:
    """Whether it is letters: what is not UTF-16 has halves of pairs, and code points without a meaning."""
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(raw)
    return all(char.isprintable() or char.isspace() or char == "\ufeff" for char in text)
