"""Draw the pages of a PDF inside the child process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from uploads.previews.renderer import MAX_SIDE, RenderError

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

MIN_PAGE_POINTS = 1.0


@contextlib.contextmanager
def open_pdf(file: Path) -> Iterator[PdfDocument]:
    """Open a PDF, with the values of its form fields. Raises RenderError, also for errors inside the block."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
        with contextlib.suppress(pypdfium2.PdfiumError):
            document.init_forms()  # draws the form fields; this build of PDFium has neither JavaScript nor XFA
        yield document
    except pypdfium2.PdfiumError as error:
        raise RenderError("locked" if "password" in str(error).lower() else "corrupted") from error


def draw_page(document: PdfDocument, number: int) -> Image.Image:
    """Return a page, counted from 1, on white, with its longer side at MAX_SIDE. Raises RenderError."""
    import pypdfium2

    try:
        page = document[number - 1]
        longest = max(*page.get_size(), MIN_PAGE_POINTS)
        if not longest < float("inf"):
            raise RenderError("corrupted")
        bitmap = page.render(scale=MAX_SIDE / longest, may_draw_forms=True)
        image: Image.Image = bitmap.to_pil()
        drawn = image.convert("RGB")
        drawn.thumbnail((MAX_SIDE, MAX_SIDE))  # PDFium rounds up
        page.close()
        return drawn
    except (pypdfium2.PdfiumError, IndexError, ValueError) as error:
        raise RenderError("corrupted") from error
