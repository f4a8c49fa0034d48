"""Previews of untrusted files, rendered by a child process with limited memory and time.

Nothing here imports Django or knows rows and the storage. `renderer` is the parent's side; `sandbox` is the child.
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
