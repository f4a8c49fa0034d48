"""Excerpts of texts that people would rather not read as text: CSV as a table, Markdown as a page."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

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
