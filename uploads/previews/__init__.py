"""Previews of untrusted files, rendered by a child process with limited memory and time.

Nothing here imports Django or knows rows and the storage. `renderer` is the parent's side; `sandbox` is the child.
"""

from uploads.previews.renderer import DOCUMENT, PICTURES, WAIT_SECONDS, Picture, PreviewFailed, max_source_bytes, render
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
