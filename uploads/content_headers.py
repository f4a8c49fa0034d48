"""Content-Type and Content-Disposition of downloads. Content that a browser could run is never served inline."""

from __future__ import annotations

from pathlib import PurePosixPath

from uploads.content_encoding import stored_type
from uploads.errors import ObjectMissing
from uploads.models import ChecksumStatus, File
from uploads.names import disposition

OCTET_STREAM = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
# Raster images, PDF, audio and video: a browser shows these without running code from them.
# Never add SVG, HTML, XML or JavaScript.
INLINE = {
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp",
    "application/pdf",
    "audio/mpeg", "audio/ogg", "audio/wav", "audio/x-wav", "audio/flac", "audio/x-flac",
    "audio/mp4", "audio/x-m4a", "audio/aac", "audio/webm",
    "video/mp4", "video/webm", "video/ogg", "video/x-m4v", "video/quicktime",
    "text/plain",
}  # fmt: skip


# Text with one of these extensions is code or markup, even if its first bytes look like plain text.
CODE_EXTENSIONS = {
    ".htm", ".html", ".js", ".mht", ".mhtml", ".mjs", ".mml", ".shtml", ".svg", ".xht", ".xhtml",
    ".xml", ".xsl", ".xslt",
}  # fmt: skip


def may_be_inline(file: File) -> bool:
    """Return whether a browser may show the file, by its detected type, never by the declared type alone.

    A file that is stored compressed is served compressed, so no browser can show it.
    """
    if file.content_encoding:
        return False
    if file.detected_type == "text/plain" and PurePosixPath(file.name).suffix.lower() in CODE_EXTENSIONS:
        return False
    return file.detected_type in INLINE


def headers(file: File, *, inline: bool) -> tuple[str, str]:
    """Return Content-Type and Content-Disposition for a download of `file`. Raises ObjectMissing without an object.

    Inline only if requested and if the detected type is in INLINE; the declared type alone never decides.
    """
    if file.checksum_status == ChecksumStatus.MISSING:
        raise ObjectMissing(file.name)
    if file.content_encoding:
        return stored_type(file.content_encoding), disposition(file.stored_name, inline=False)
    if not (inline and may_be_inline(file)):
        return OCTET_STREAM, disposition(file.name, inline=False)
    content_type = TEXT if file.detected_type == "text/plain" else file.detected_type
    return content_type, disposition(file.name, inline=True)
