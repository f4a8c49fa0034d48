"""The parent's side: start the child, wait for it with a timeout, and validate what it wrote."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from uploads.previews.text_excerpt import HIDDEN, LINE_ENDS

PROJECT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 30.0
MAX_PREVIEW_BYTES = 8 * 1024**2
MAX_REPORT_BYTES = 4096
MAX_PAGES = 20  # of a document that have previews
MAX_PAGE_COUNT = 2**31 - 1  # of PDFium, and of the database
KINDS = ("thumbnail", "picture")
MAX_SIDE = 1600
MAX_ORIGINAL_SIDE = 2**31 - 1  # of the database

Reason = Literal[
    "too_large", "corrupted", "unsupported", "unreadable", "locked", "too_hard", "missing", "not_installed"
]
CHILD_MESSAGES = {"too_large", "corrupted", "unsupported", "unreadable", "locked"}
MIB = 1024**2

# RAW photos: the JPEG inside is shown.
RAW = {
    "image/x-adobe-dng", "image/x-canon-cr2", "image/x-nikon-nef", "image/x-pentax-pef", "image/x-samsung-srw",
    "image/x-sony-arw",
}  # fmt: skip
# Media type: the only decoder that may read it. No other is tried.
PICTURES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/x-ms-bmp": "BMP",
    "image/tiff": "TIFF",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
    "image/svg+xml": "SVG",
    **dict.fromkeys(RAW, "TIFF"),
}
DOCUMENT = "application/pdf"
# Rendered by programs that may be installed beside Amalga.
SOFFICE, FFMPEG = "soffice", "ffmpeg"
OFFICE = {
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.oasis.opendocument.presentation": ".odp",
    "application/vnd.oasis.opendocument.graphics": ".odg",
    "application/msword": ".doc",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.ms-powerpoint": ".ppt",
    "application/rtf": ".rtf",
    "text/rtf": ".rtf",
}
DOCUMENTS = {DOCUMENT, *OFFICE}  # rendered page by page
VIDEOS = {
    "video/mp4", "video/quicktime", "video/x-m4v", "video/webm", "video/x-matroska", "video/x-msvideo", "video/mpeg",
    "video/ogg", "video/x-ms-asf", "video/x-ms-wmv", "video/x-flv", "video/3gpp", "video/mp2t",
}  # fmt: skip
OFFICE_WAIT_SECONDS = 60.0  # LibreOffice takes seconds to start

# Documents whose text can be read, besides plain texts.
TEXT_DOCUMENTS = {
    DOCUMENT,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.presentation",
}
MAX_TEXT_CHARACTERS = 1_000_000  # that are read of a document
MAX_TEXT_BYTES = 4 * MAX_TEXT_CHARACTERS
TEXT_WAIT_SECONDS = 15.0

# What reading the child's report raises if it is not one of ours: a hostile file may have taken the child over.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)

MAX_PICTURE_BYTES = 200 * MIB
MAX_DOCUMENT_BYTES = 100 * MIB
MAX_VIDEO_BYTES = 2000 * MIB  # fetched to the worker's disk


class PreviewFailed(Exception):
    """No picture can be made of this file, now or later."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class RenderError(Exception):
    """In the child: the file cannot be rendered or read. `why` is one of CHILD_MESSAGES."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Picture:
    """A WebP and its size in pixels. Of a document, also the number of its pages.

    `original` is the width and height of the file itself in pixels, upright; None where that is not known.
    """

    body: bytes
    width: int
    height: int
    page_count: int | None = None
    original: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of a document that the child has drawn: their sizes in pixels, or why they could not be drawn."""

    folder: Path
    count: int
    sizes: dict[str, Any]

    def read(self, number: int) -> Picture:
        """Return one page. Raises PreviewFailed, also for those that the child did not come to."""
        size = self.sizes.get(str(number))
        if size is None:
            raise PreviewFailed("too_hard")
        if isinstance(size, str):
            raise _failure(size)
        try:
            return _read_picture(self.folder / f"{number}.webp", size)
        except UNREADABLE as error:
            raise PreviewFailed("corrupted") from error


def render(file: Path, media_type: str, folder: Path, *, seconds: float = WAIT_SECONDS) -> dict[str, Picture]:
    """Render the thumbnail and the picture of a file in the empty `folder`.

    Raises PreviewFailed. Takes at most `seconds`.
    """
    program = shutil.which(required_program(media_type)) or ""
    _run_child("uploads.previews.sandbox", "draw", str(file), media_type, str(folder), program, seconds=seconds)
    return _read_result(folder)


def render_pages(file: Path, media_type: str, folder: Path, *, seconds: float = WAIT_SECONDS) -> Pages:
    """Render the pages of a document from the second to MAX_PAGES in the empty `folder`.

    If the child is stopped, at its limits or by a hostile page, the pages before are there. Raises PreviewFailed.
    """
    program = shutil.which(required_program(media_type)) or ""
    try:
        _run_child(
            "uploads.previews.sandbox", "draw_pages", str(file), media_type, str(folder), program, seconds=seconds
        )
    except PreviewFailed:
        if not (folder / "report.json").exists():
            raise
    try:
        report = _read_report(folder)
        count, sizes = int(report["page_count"]), dict(report["sizes"])
    except UNREADABLE as error:
        raise PreviewFailed("corrupted") from error
    return Pages(folder, _valid_count(count), sizes)


def read_text(file: Path, folder: Path, *, seconds: float = TEXT_WAIT_SECONDS) -> str:
    """Return up to MAX_TEXT_CHARACTERS of the text of a document, with the empty `folder` for the child's output.

    Raises PreviewFailed. Takes at most `seconds`.
    """
    _run_child("uploads.previews.document_text", str(file), str(folder), seconds=seconds)
    try:
        _read_report(folder)
        text = _read(folder / "text.txt", MAX_TEXT_BYTES).decode(errors="replace")
    except UNREADABLE as error:
        raise PreviewFailed("corrupted") from error
    return HIDDEN.sub("", LINE_ENDS.sub("\n", text))[:MAX_TEXT_CHARACTERS]


def _run_child(module: str, *arguments: str, seconds: float) -> None:
    """Run the module as a child process with these arguments. Raises PreviewFailed."""
    command = [sys.executable, "-m", module, *arguments]
    # the child gets no secrets in its environment, and cannot write to the log
    child = subprocess.Popen(
        command, cwd=PROJECT, env={"PATH": os.defpath}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise PreviewFailed("too_hard") from error
    finally:
        _kill_all(child)
    if code:
        raise PreviewFailed("too_hard")


def _kill_all(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and all processes that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _read_result(folder: Path) -> dict[str, Picture]:
    try:
        report = _read_report(folder)
        pictures = {kind: _read_picture(folder / f"{kind}.webp", report["sizes"][kind]) for kind in KINDS}
        count = report.get("page_count")
        page_count = None if count is None else _valid_count(int(count))
        original = _valid_original(report.get("original"))
        return pictures | {"picture": replace(pictures["picture"], page_count=page_count, original=original)}
    except UNREADABLE as error:
        raise PreviewFailed("corrupted") from error


def _read_report(folder: Path) -> Any:
    """Return the child's report. Raises PreviewFailed for its reason; ValueError, AttributeError, RecursionError."""
    report = json.loads(_read(folder / "report.json", MAX_REPORT_BYTES))
    if reason := report.get("reason"):
        raise _failure(reason)
    return report


def _failure(reason: Any) -> PreviewFailed:
    """Return the error for a reason that the child gave."""
    return PreviewFailed(cast(Reason, reason) if reason in CHILD_MESSAGES else "corrupted")


def _valid_count(count: int) -> int:
    if not 0 < count <= MAX_PAGE_COUNT:
        raise PreviewFailed("corrupted")
    return count


def _valid_original(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    width, height = size
    # a bool is an int as well
    if not all(type(side) is int and 0 < side <= MAX_ORIGINAL_SIDE for side in (width, height)):
        raise PreviewFailed("corrupted")
    return width, height


def _read_picture(path: Path, size: list[int]) -> Picture:
    body = _read(path, MAX_PREVIEW_BYTES)
    width, height = (int(side) for side in size)
    if body[:4] != b"RIFF" or body[8:12] != b"WEBP" or not 0 < min(width, height) <= max(width, height) <= MAX_SIDE:
        raise PreviewFailed("corrupted")
    return Picture(body, width, height)


def _read(path: Path, max_bytes: int) -> bytes:
    """Return the file's bytes, but never through a symbolic link, which a compromised child could point anywhere."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            body = file.read(max_bytes + 1)
    except OSError as error:
        raise PreviewFailed("too_hard") from error
    if len(body) > max_bytes:
        raise PreviewFailed("corrupted")
    return body


def max_source_bytes(media_type: str) -> int:
    """Return the size of the largest file of this type that is rendered, in bytes."""
    if media_type in VIDEOS:
        return MAX_VIDEO_BYTES
    return MAX_DOCUMENT_BYTES if media_type in DOCUMENTS else MAX_PICTURE_BYTES


def wait_seconds(media_type: str) -> float:
    """Return how long rendering a file of this type may take."""
    return OFFICE_WAIT_SECONDS if media_type in OFFICE else WAIT_SECONDS


def required_program(media_type: str) -> str:
    """Return the name of the program that files of this type are rendered by; empty if Amalga renders them itself."""
    if media_type in VIDEOS:
        return FFMPEG
    return SOFFICE if media_type in OFFICE else ""


def is_renderable(media_type: str) -> bool:
    """Return whether files of this type can be rendered on this machine."""
    program = required_program(media_type)
    return not program or shutil.which(program) is not None
