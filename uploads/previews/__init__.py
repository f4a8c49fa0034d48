"""Small pictures of files that nobody can trust: made by a child process with little memory and little time.

Nothing here knows rows, the store or Django. `render` is the parent's side; `child` is what runs apart.
"""

from uploads.previews.limits import DOCUMENT, PICTURES, max_source_bytes
from uploads.previews.renderer import WAIT_SECONDS, Picture, PreviewFailed, render
from uploads.previews.text_excerpt import EXCERPT_BYTES, excerpt_of

__all__ = [
    "DOCUMENT",
    "EXCERPT_BYTES",
    "PICTURES",
    "WAIT_SECONDS",
    "Picture",
    "PreviewFailed",
    "excerpt_of",
    "max_source_bytes",
    "render",
]
