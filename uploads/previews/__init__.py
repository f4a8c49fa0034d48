"""Small pictures of files that nobody can trust: made by a child process with little memory and little time.

Nothing here knows rows, the store or Django. `render` is the parent's side; `child` is what runs apart.
"""

from uploads.previews.excerpt import EXCERPT_BYTES, excerpt_of
from uploads.previews.kinds import DOCUMENT, PICTURES, most_bytes
from uploads.previews.parent import WAIT_SECONDS, Picture, Unshowable, render

__all__ = [
    "DOCUMENT",
    "EXCERPT_BYTES",
    "PICTURES",
    "WAIT_SECONDS",
    "Picture",
    "Unshowable",
    "excerpt_of",
    "most_bytes",
    "render",
]
