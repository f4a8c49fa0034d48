"""The beginning of a text as UTF-8, the detection of its encoding, and Markdown and tables as nodes."""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from charset_normalizer.cd import coherence_ratio
from charset_normalizer.md import mess_ratio
from markdown_it import MarkdownIt
from markdown_it.token import Token

EXCERPT_BYTES = 64 * 1024
# Line ends other than \n, which they are replaced by.
LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Control characters except tab and line ends, and bidirectional controls, which can make code look different from
# what it does.
HIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
SAMPLE_BYTES = 4096
# Encodings that programs write, the most likely first: the first of those with equal scores is used.
ENCODINGS = (
    "cp1252", "cp1251", "koi8_r", "gb18030", "cp932", "cp949", "big5", "euc_jp", "cp1250", "iso8859_2", "cp1253",
    "cp1254", "cp1255", "cp1256", "cp866", "cp874", "mac_roman",
)  # fmt: skip
# Rare encodings that can decode other languages into meaningless letters.
PENALTY = {"cp1253": 0.08, "cp1255": 0.08, "cp1256": 0.08, "cp874": 0.1, "cp866": 0.04, "mac_roman": 0.04}
# For each double-byte encoding, the first bytes of common characters: punctuation, kana, the more frequent half of the
# ideographs, the syllables that Korean uses. Text in another encoding decodes mostly to the others.
COMMON_LEADS = {
    "gb18030": {*range(0xA1, 0xA4), *range(0xB0, 0xD8)},
    "cp932": {*range(0x81, 0x84), *range(0x88, 0x99)},
    "euc_jp": {*range(0xA1, 0xA6), *range(0xB0, 0xD0)},
    "cp949": {*range(0xA1, 0xA4), *range(0xB0, 0xC9)},
    "big5": {*range(0xA1, 0xC7)},
}
HIGH_TRAILS = {"gb18030", "euc_jp", "cp949"}  # both bytes of a common character are 0xA1 or more
HANGUL_LEADS = range(0xB0, 0xC9)
FREQUENT_CYRILLIC = set("оеаинтсрвлкмдпуыя")
ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
KANA = re.compile("[\u3041-\u30ff]")
HANGUL = re.compile("[\uac00-\ud7a3]")
# UTF-32-LE before UTF-16-LE, whose mark it begins with.
BYTE_ORDER_MARKS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
SPACES = b" \t\r\n"
DELIMITERS = ",;\t|"
MAX_ROWS, MAX_COLUMNS, MAX_CELL_CHARACTERS = 200, 50, 500
SAMPLE_LINES = 20
MAX_MARKDOWN_CHARACTERS = 16_384  # hostile texts take time that grows with the square: a second at most for these
SCHEMES = {"http", "https", "mailto"}
MAX_TOKENS = 6_000  # a short text can stand for a table with many thousand empty cells
TABLE, MARKDOWN = "table", "markdown"
FORMATS = {".csv": TABLE, ".tsv": TABLE, ".md": MARKDOWN, ".markdown": MARKDOWN}
TAGS = {
    "a", "blockquote", "em", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "s", "strong", "table", "tbody", "td",
    "th", "thead", "tr", "ul",
}  # fmt: skip


def excerpt_of(beginning: bytes) -> bytes:
    """Return the first EXCERPT_BYTES of a text as UTF-8, without control characters.

    The result has at most three times as many bytes.
    """
    return HIDDEN.sub("", LINE_ENDS.sub("\n", decode(beginning[:EXCERPT_BYTES]))).encode()


def decode(raw: bytes) -> str:
    """Return the text, with U+FFFD for invalid bytes. An incomplete last character is left out."""
    bom, encoding = marked_encoding(raw)
    return _decode(raw[len(bom) :], encoding or _detect(raw))


def _decode(raw: bytes, encoding: str) -> str:
    # not final: the decoder keeps an incomplete last character instead of replacing it
    return codecs.getincrementaldecoder(encoding)(errors="replace").decode(raw)


def _detect(raw: bytes) -> str:
    if wide := unmarked_wide_encoding(raw):
        return wide
    if raw.isascii():
        return "iso2022_jp" if ISO_2022_JP.search(raw) else "utf-8"
    text = raw.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    right = sum(char > "\x7f" for char in text) - wrong
    return "utf-8" if right >= wrong else _best_encoding(raw[:SAMPLE_BYTES])


def _best_encoding(sample: bytes) -> str:
    return min(ENCODINGS, key=lambda encoding: round(_mess(sample, encoding), 2))


def _mess(sample: bytes, encoding: str) -> float:
    """Return how little this reads like words; 0 is a natural text."""
    text = _decode(sample, encoding)
    others = [char for char in text if char > "\x7f"]
    if not others:
        return 2.0
    wrong = sum(char < "\xa0" or char == "\ufffd" or not char.isprintable() for char in others if char != "\xa0")
    unlikely = _count_rare(others, encoding) if encoding in COMMON_LEADS else _count_misplaced(text)
    coherence = max((ratio for _, ratio in coherence_ratio(text, 0.1)), default=0.0)
    return (
        0.3 * mess_ratio(text, 1.0)
        + (0.8 * wrong + unlikely) / len(others)
        - 0.5 * coherence
        + PENALTY.get(encoding, 0.0)
    )


def _count_rare(others: list[str], encoding: str) -> float:
    """Return how many of the characters are rare in the languages of this encoding."""
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
        rare += len(others) / 10  # two thirds of Chinese characters have these bytes, and all Korean ones
    return rare


def _lead(char: str, encoding: str) -> int:
    """Return the first byte of a two-byte character, or 0 for others."""
    encoded = char.encode(encoding, "ignore")
    if len(encoded) != 2 or (encoding in HIGH_TRAILS and encoded[1] < 0xA1):
        return 0
    return encoded[0]


def _count_misplaced(text: str) -> float:
    """Count letters next to another script, capitals after small letters, and symbols inside words."""
    count = 0.0
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char <= "\x7f":
            continue
        neighbors = [other for other in (before, after) if other.isalpha()]
        if not char.isalpha():
            count += len(neighbors) == 2 and char != "’" and not unicodedata.combining(char)
            continue
        if _is_latin(char):
            count += 0.2 * (len(neighbors) == 2 and min(neighbors) > "\x7f")
        elif "\u0400" <= char < "\u0500":
            count += 0.1 * (char.lower() not in FREQUENT_CYRILLIC) + 0.02 * char.isupper()
        count += any(_is_latin(other) != _is_latin(char) for other in neighbors)
        count += before.isalpha() and before.islower() and char.isupper()
    return count


def _is_latin(char: str) -> bool:
    return char < "\u0250"


def marked_encoding(raw: bytes) -> tuple[bytes, str]:
    """Return the text's byte order mark and its encoding; both are empty if there is none."""
    return next(((bom, encoding) for bom, encoding in BYTE_ORDER_MARKS if raw.startswith(bom)), (b"", ""))


def unmarked_wide_encoding(raw: bytes) -> str:
    """Detect UTF-16 without a mark by the zero bytes of Latin letters, or of spaces and line ends. "" if it is not."""
    if not raw or 0 not in raw:
        return ""
    even, odd = raw[0::2], raw[1::2]
    for encoding, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        high_zeros, low_zeros = high.count(0), low.count(0)
        if high_zeros > len(high) // 2 and not low_zeros:
            return encoding
        if (
            high_zeros >= low_zeros
            and _count_spaces(high, low)
            and not _count_spaces(low, high)
            and _is_valid(raw, encoding)
        ):
            return encoding
    return ""


def _count_spaces(high: bytes, low: bytes) -> int:
    return sum(first == 0 and second in SPACES for first, second in zip(high, low, strict=False))


def _is_valid(raw: bytes, encoding: str) -> bool:
    """Return whether all characters are printable or spaces: other data has lone surrogates and unassigned ones."""
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(raw)
    return all(char.isprintable() or char.isspace() or char == "\ufeff" for char in text)


# --- tables and Markdown -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a CSV file. All rows have as many cells as the longest."""

    header: list[str]
    rows: list[list[str]]
    is_complete: bool


@dataclass(slots=True)
class Node:
    """An element of a page, or text where `tag` is empty."""

    tag: str = ""
    text: str = ""
    href: str = ""
    children: list[Node] = field(default_factory=list)


def rich_format_of(file_name: str) -> str:
    """Return how the text of a file with this name is shown: TABLE, MARKDOWN, or empty for all other texts."""
    return FORMATS.get(PurePosixPath(file_name).suffix.lower(), "")


def read_table(text: str, *, is_complete: bool) -> Table | None:
    """Return the first rows of a CSV text; None if it has no rows. The last line of an incomplete text is left out."""
    lines = text.splitlines(keepends=True)
    if not is_complete and len(lines) > 1:
        lines.pop()
    rows = list(_rows(lines, _delimiter(lines), MAX_ROWS + 2))
    if not rows:
        return None
    shown = rows[: MAX_ROWS + 1]
    width = max(map(len, shown))
    padded = [[*row, *[""] * (width - len(row))] for row in shown]
    return Table(padded[0], padded[1:], is_complete and len(rows) == len(shown) and width < MAX_COLUMNS)


def _rows(lines: Sequence[str], delimiter: str, limit: int) -> list[list[str]]:
    rows = []
    with contextlib.suppress(csv.Error):  # the rows before an invalid one are shown
        for row in csv.reader(lines, delimiter=delimiter):
            if row:
                rows.append([cell[:MAX_CELL_CHARACTERS] for cell in row[:MAX_COLUMNS]])
            if len(rows) == limit:
                break
    return rows


def _delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter with which the most lines have the same number of cells, of those the one with more cells.

    csv.Sniffer does the same with regular expressions that take minutes for some texts.
    """

    def score(delimiter: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in _rows(lines, delimiter, SAMPLE_LINES))
        (width, count), *_rest = widths.most_common(1) or [(0, 0)]
        return (count, width) if width > 1 else (0, 0)

    return max(DELIMITERS, key=score)


def parse_markdown(text: str) -> list[Node]:
    """Return the first MAX_MARKDOWN_CHARACTERS of a Markdown text as nodes, for the template to escape and write.

    HTML in it is text, and pictures are their descriptions. So are links to other schemes than http, https and mailto,
    and relative ones, which would lead into Amalga.
    """
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])
    markdown.validateLink = _is_link  # type: ignore[method-assign]
    return _nodes(markdown.parse(text[:MAX_MARKDOWN_CHARACTERS])[:MAX_TOKENS])


def _is_link(url: str) -> bool:
    try:
        return urlsplit(url).scheme.lower() in SCHEMES
    except ValueError:
        return False


def _nodes(tokens: Sequence[Token]) -> list[Node]:
    stack = [Node()]
    for token in tokens:
        siblings = stack[-1].children
        if token.nesting > 0:
            node = Node(token.tag if token.tag in TAGS else "div", href=str(token.attrGet("href") or ""))
            stack.append(stack[-1] if token.hidden else node)  # paragraphs of a tight list are hidden
            siblings += [] if token.hidden else [node]
        elif token.nesting < 0:
            stack.pop()
        elif token.type == "inline":
            siblings += _nodes(token.children or [])
        elif token.type in {"hr", "hardbreak"}:
            siblings.append(Node(token.tag))
        elif token.type in {"fence", "code_block"}:
            siblings.append(Node("pre", children=[Node("code", children=[Node(text=token.content)])]))
        elif token.type == "code_inline":
            siblings.append(Node("code", children=[Node(text=token.content)]))
        else:
            siblings.append(Node(text="\n" if token.type == "softbreak" else token.content))
    return stack[0].children
