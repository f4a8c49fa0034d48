"""Which headers a file goes out with. What could run in a browser only ever goes out as a download."""

from __future__ import annotations

from pathlib import PurePosixPath

from uploads.content_encoding import stored_type
from uploads.errors import ObjectMissing
from uploads.models import ChecksumStatus, File
from uploads.names import disposition

OCTET_STREAM = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
# Raster images, PDF, audio, video: what a browser shows without running anything from it.
# SVG, HTML, XML and JavaScript are not here, whatever else is added.
INLINE = {
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp",
    "application/pdf",
    "audio/mpeg", "audio/ogg", "audio/wav", "audio/x-wav", "audio/flac", "audio/x-flac",
    "audio/mp4", "audio/x-m4a", "audio/aac", "audio/webm",
    "video/mp4", "video/webm", "video/ogg", "video/x-m4v", "video/quicktime",
    "text/plain",
}  # fmt: skip


# Text under such a name is code or markup, though its first bytes look like plain words.
CODE = {
    ".htm", ".html", ".js", ".mht", ".mhtml", ".mjs", ".mml", ".shtml", ".svg", ".xht", ".xhtml",
    ".xml", ".xsl", ".xslt",
}  # fmt: skip


def may_be_inline(file: File) -> bool:
    """Whether a browser may show the file: by what its bytes are, never by its sender's claim alone. What is stored
    compressed goes out as it is stored, so no browser can show it."""
    if file.content_encoding:
        return False
    if file.detected_type == "text/plain" and PurePosixPath(file.name).suffix.lower() in CODE:
        return False
    return file.detected_type in INLINE


def headers(file: File, *, inline: bool) -> tuple[str, str]:
    """Content-Type and Content-Disposition for a download of `file`. Raises ObjectMissing where nothing is to be had.

    Inline only when wanted, when the bytes were looked at, and when their type is on the list; the
    sender's claim alone never decides.
    """
    if file.checksum_basis == ChecksumStatus.MISSING:
        raise ObjectMissing(file.name)
    if file.content_encoding:
        return stored_type(file.content_encoding), disposition(file.stored_name, inline=False)
    shown = inline and may_be_inline(file)
    if not shown:
        return OCTET_STREAM, disposition(file.name, inline=False)
    content_type = TEXT if file.detected_type == "text/plain" else file.detected_type
    return content_type, disposition(file.name, inline=True)
