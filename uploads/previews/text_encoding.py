"""The encoding of a text, by its bytes."""

from __future__ import annotations

import codecs
import re
import unicodedata

from charset_normalizer.cd import coherence_ratio
from charset_normalizer.md import mess_ratio

SAMPLE_BYTES = 4096
# What people's programs write, the likeliest first: of two that read equally well, the first is taken.
ENCODINGS = (
    "cp1252", "cp1251", "koi8_r", "gb18030", "cp932", "cp949", "big5", "euc_jp", "cp1250", "iso8859_2", "cp1253",
    "cp1254", "cp1255", "cp1256", "cp866", "cp874", "mac_roman",
)  # fmt: skip
# Rare in files, and wide enough to read other languages as letters without sense.
DOUBTED = {"cp1253": 0.08, "cp1255": 0.08, "cp1256": 0.08, "cp874": 0.1, "cp866": 0.04, "mac_roman": 0.04}
# Of each double-byte encoding, the first bytes of common letters: punctuation, kana, the more frequent half of the
# ideographs, the syllables that Korean uses. Another encoding read as one of these gives mostly the others.
COMMON_LEADS = {
    "gb18030": {*range(0xA1, 0xA4), *range(0xB0, 0xD8)},
    "cp932": {*range(0x81, 0x84), *range(0x88, 0x99)},
    "euc_jp": {*range(0xA1, 0xA6), *range(0xB0, 0xD0)},
    "cp949": {*range(0xA1, 0xA4), *range(0xB0, 0xC9)},
    "big5": {*range(0xA1, 0xC7)},
}
HIGH_TRAILS = {"gb18030", "euc_jp", "cp949"}  # of which a common letter is two bytes from 0xA1 on
HANGUL_LEADS = range(0xB0, 0xC9)
FREQUENT_CYRILLIC = set("оеаинтсрвлкмдпуыя")
ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
KANA = re.compile("[\u3041-\u30ff]")
HANGUL = re.compile("[\uac00-\ud7a3]")


def decode(raw: bytes) -> str:
    """The text, with U+FFFD for what its encoding does not have. A last letter that is cut is left out."""
    mark, encoding = marked_encoding(raw)
    return _read(raw[len(mark) :], encoding or _unmarked(raw))


def _read(raw: bytes, encoding: str) -> str:
    # not final: of a letter that is cut the decoder waits for the rest
    return codecs.getincrementaldecoder(encoding)(errors="replace").decode(raw)


def _unmarked(raw: bytes) -> str:
    if wide := unmarked_wide_encoding(raw):
        return wide
    if raw.isascii():
        return "iso2022_jp" if ISO_2022_JP.search(raw) else "utf-8"
    text = raw.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    right = sum(char > "\x7f" for char in text) - wrong
    return "utf-8" if right >= wrong else _best(raw[:SAMPLE_BYTES])


def _best(sample: bytes) -> str:
    return min(ENCODINGS, key=lambda encoding: round(_mess(sample, encoding), 2))


def _mess(sample: bytes, encoding: str) -> float:
    """Return how little this reads like words; 0 is a natural text."""
    text = _read(sample, encoding)
    others = [char for char in text if char > "\x7f"]
    if not others:
        return 2.0
    wrong = sum(char < "\xa0" or char == "\ufffd" or not char.isprintable() for char in others if char != "\xa0")
    odd = _rare(others, encoding) if encoding in COMMON_LEADS else _out_of_place(text)
    known = max((ratio for _, ratio in coherence_ratio(text, 0.1)), default=0.0)
    return 0.3 * mess_ratio(text, 1.0) + (0.8 * wrong + odd) / len(others) - 0.5 * known + DOUBTED.get(encoding, 0.0)


def _rare(others: list[str], encoding: str) -> float:
    """How many letters are such as no text of that language is made of."""
    leads = [_lead(char, encoding) for char in others]
    rare: float = sum(lead not in COMMON_LEADS[encoding] for lead in leads)
    text = "".join(others)
    if encoding in {"cp932", "euc_jp"} and not KANA.search(text):
        rare = max(rare, len(others) / 4)
    if encoding == "cp949":
        rare = max(rare, len(others) - 2 * len(HANGUL.findall(text)))
    if encoding in {"gb18030", "big5"}:
        rare = max(rare, 2 * len(KANA.findall(text)))
    if encoding == "gb18030" and len(others) > 3 and all(lead in HANGUL_LEADS or lead < 0xA4 for lead in leads):
        rare += len(others) / 10  # two thirds of Chinese letters are there, and all of the Korean ones
    return rare


def _lead(char: str, encoding: str) -> int:
    """The first byte of a letter of two; 0 for what is written otherwise."""
    written = char.encode(encoding, "ignore")
    if len(written) != 2 or (encoding in HIGH_TRAILS and written[1] < 0xA1):
        return 0
    return written[0]


def _out_of_place(text: str) -> float:
    """How many letters stand beside one of another script, or of small ones before a capital, or are signs in words."""
    count = 0.0
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char <= "\x7f":
            continue
        beside = [other for other in (before, after) if other.isalpha()]
        if not char.isalpha():
            count += len(beside) == 2 and char != "’" and not unicodedata.combining(char)
            continue
        if _is_latin(char):
            count += 0.2 * (len(beside) == 2 and min(beside) > "\x7f")
        elif "\u0400" <= char < "\u0500":
            count += 0.1 * (char.lower() not in FREQUENT_CYRILLIC) + 0.02 * char.isupper()
        count += any(_is_latin(other) != _is_latin(char) for other in beside)
        count += before.isalpha() and before.islower() and char.isupper()
    return count


def _is_latin(char: str) -> bool:
    return char < "\u0250"


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
