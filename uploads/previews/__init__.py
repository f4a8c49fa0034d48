"""Previews of untrusted files, rendered by a child process with limited memory and time.

Nothing here imports Django or knows rows and the storage. `renderer` is the parent's side; `sandbox` and
`document_text` are children.
"""

from uploads.previews.renderer import (
    DOCUMENTS,
    FFMPEG,
    MAX_PAGES,
    MAX_TEXT_BYTES,
    OFFICE,
    PICTURES,
    SOFFICE,
    TEXT_DOCUMENTS,
    VIDEOS,
    WAIT_SECONDS,
    Pages,
    Picture,
    PreviewFailed,
    is_renderable,
    max_source_bytes,
    read_text,
    render,
    render_pages,
    wait_seconds,
)
from uploads.previews.text_excerpt import EXCERPT_BYTES, excerpt_of

__all__ = [
    "DOCUMENTS",
    "EXCERPT_BYTES",
    "FFMPEG",
    "MAX_PAGES",
    "MAX_TEXT_BYTES",
    "OFFICE",
    "PICTURES",
    "SOFFICE",
    "TEXT_DOCUMENTS",
    "VIDEOS",
    "WAIT_SECONDS",
    "Pages",
    "Picture",
    "PreviewFailed",
    "excerpt_of",
    "is_renderable",
    "max_source_bytes",
    "read_text",
    "render",
    "render_pages",
    "wait_seconds",
]
