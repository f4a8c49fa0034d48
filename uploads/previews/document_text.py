"""`python -m uploads.previews.document_text FILE FOLDER`: read the text of a document in a process of its own.

It reads FILE and writes `text.txt` and `report.json` into FOLDER, with the limits of `sandbox`. The parent does not
trust them. What the file is follows from its contents alone.
"""

from __future__ import annotations

import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

from uploads.previews import sandbox
from uploads.previews.renderer import MAX_TEXT_BYTES, MAX_TEXT_CHARACTERS, RenderError
from uploads.previews.text_excerpt import decode

MAX_PAGES = 2_000
MAX_UNPACKED_BYTES = 128 * 1024**2  # of all members together
CHUNK_BYTES = 64 * 1024
PDF_HEADER, PDF_HEADER_BYTES = b"%PDF-", 1024  # ISO 32000-2, annex I: readers accept bytes before the header
ZIP_HEADER = b"PK\x03\x04"
MAX_UNREADABLE = 0.1  # of the characters of a text; more are no text
UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\ufffd]")
LINE_END_HYPHEN = re.compile("[\x02\ufffe]\\s*")  # PDFium's character for a hyphen at the end of a line


class Layout(NamedTuple):
    """Where a document has its text: the members of its ZIP, the elements with text, and those that end a line.

    Names of elements are without their prefix. Without elements, all characters are text.
    """

    members: re.Pattern[str]
    text: frozenset[str]
    breaks: frozenset[str]


WORD_MEMBER = re.compile(r"word/(document|footnotes|endnotes|comments|header\d*|footer\d*)\.xml")
SHEET_MEMBER = re.compile(r"xl/(sharedStrings|worksheets/sheet\d+)\.xml")
SLIDE_MEMBER = re.compile(r"ppt/(slides/slide|notesSlides/notesSlide)\d+\.xml")
OPEN_MEMBER = re.compile(r"content\.xml")
LAYOUTS = [
    Layout(WORD_MEMBER, frozenset({"t"}), frozenset({"p", "br", "tab", "tc"})),
    Layout(SHEET_MEMBER, frozenset({"t", "v"}), frozenset({"si", "is", "row", "c"})),
    Layout(SLIDE_MEMBER, frozenset({"t"}), frozenset({"p", "br"})),
    Layout(OPEN_MEMBER, frozenset(), frozenset({"p", "h", "table-cell", "line-break", "tab"})),
]
# What zipfile, zlib and expat raise for a damaged document.
UNREADABLE_ZIP = (
    zipfile.BadZipFile, zlib.error, expat.ExpatError, NotImplementedError, OSError, EOFError, ValueError, LookupError,
)  # fmt: skip
NUMBER = re.compile(r"(\d+)")


def read_text(file: Path) -> str:
    """Return up to MAX_TEXT_CHARACTERS of the document. Raises RenderError and MemoryError."""
    with file.open("rb") as source:
        beginning = source.read(PDF_HEADER_BYTES)
    if PDF_HEADER in beginning:
        pieces = _read_pdf(file)
    elif beginning.startswith(ZIP_HEADER):
        pieces = _read_zip(file)
    else:
        pieces = _read_plain(file)
    text, length = [], 0
    for piece in pieces:
        text.append(piece)
        length += len(piece)
        if length >= MAX_TEXT_CHARACTERS:
            break
    return "".join(text)[:MAX_TEXT_CHARACTERS]


def _read_plain(file: Path) -> Iterator[str]:
    with file.open("rb") as source:
        text = decode(source.read(MAX_TEXT_BYTES))
    if len(UNREADABLE.findall(text)) > MAX_UNREADABLE * len(text):
        raise RenderError("unsupported")
    yield text


def _read_pdf(file: Path) -> Iterator[str]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
        for number in range(min(len(document), MAX_PAGES)):
            page = document[number]
            textpage = page.get_textpage()
            count = min(textpage.count_chars(), MAX_TEXT_CHARACTERS)
            yield LINE_END_HYPHEN.sub("", textpage.get_text_range(0, count)) + "\n" if count else ""
            textpage.close()
            page.close()
    except pypdfium2.PdfiumError as error:
        raise RenderError("locked" if "password" in str(error).lower() else "corrupted") from error


def _read_zip(file: Path) -> Iterator[str]:
    unpacked = 0
    try:
        with zipfile.ZipFile(file) as archive:
            members = [(layout, name) for name in archive.namelist() if (layout := _layout_of(name))]
            if not members:
                raise RenderError("unsupported")
            for layout, name in sorted(members, key=lambda member: _natural(member[1])):
                reader = _XmlReader(layout)
                with archive.open(name) as source:
                    while chunk := source.read(CHUNK_BYTES):
                        unpacked += len(chunk)
                        if unpacked > MAX_UNPACKED_BYTES:
                            raise RenderError("too_large")
                        yield reader.feed(chunk)
                yield reader.feed(b"", last=True) + "\n"
    except UNREADABLE_ZIP as error:
        raise RenderError("corrupted") from error
    except RuntimeError as error:  # zipfile's error for an encrypted member
        raise RenderError("locked") from error


def _layout_of(member: str) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.members.fullmatch(member)), None)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in NUMBER.split(name)]


class _XmlReader:
    """Collects the text of one member. Document types, and with them entities, are refused."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._depth = 0 if layout.text else 1
        self._is_reference = False
        self._text: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def feed(self, chunk: bytes, *, last: bool = False) -> str:
        """Return the text that the chunk adds. Raises RenderError, expat.ExpatError."""
        self._parser.Parse(chunk, last)
        text = "".join(self._text)
        self._text.clear()
        return text

    def _refuse(self, *_declaration: object) -> None:
        raise RenderError("corrupted")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        local = name.rpartition(":")[2]
        if local in self._layout.text:
            self._depth += 1
        elif local == "c":  # a cell of a sheet, whose value can be the number of a shared text
            self._is_reference = attributes.get("t") == "s"

    def _end(self, name: str) -> None:
        local = name.rpartition(":")[2]
        if local in self._layout.text:
            self._depth -= 1
        if local in self._layout.breaks:
            self._text.append("\n")
            self._is_reference = False

    def _characters(self, text: str) -> None:
        if self._depth and not self._is_reference:
            self._text.append(text)


def main(file: str, folder: str) -> None:
    sandbox.limit()

    def write_text() -> dict[str, Any]:
        (Path(folder) / "text.txt").write_text(read_text(Path(file)), encoding="utf-8", errors="replace")
        return {}

    sandbox.write_report(Path(folder), write_text)


if __name__ == "__main__":
    main(*sys.argv[1:])
