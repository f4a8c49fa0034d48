"""`python -m uploads.previews.document_pages FILE TYPE FOLDER [PROGRAM]`: draw the pages of a document after the first.

It reads FILE and writes `2.webp`, `3.webp` and so on, and `report.json`, into FOLDER, with the limits of `sandbox`. The
report is written again after each page, so that the pages before one that cannot be drawn are kept. The parent does
not trust them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from uploads.previews import sandbox
from uploads.previews.renderer import DOCUMENT, MAX_PAGES, RenderError


def draw_pages(file: Path, media_type: str, folder: Path, *, program: str = "") -> dict[str, Any]:
    """Draw the pages, and return the report: `page_count`, and the size of each page or why it has none.

    Raises RenderError and MemoryError.
    """
    from uploads.previews.decoders import draw_page, open_pdf
    from uploads.previews.render_image import as_pdf, save

    source = file if media_type == DOCUMENT else as_pdf(file, media_type, folder, program)
    with open_pdf(source) as document:
        sizes: dict[int, Any] = {}
        report = {"page_count": len(document), "sizes": sizes}
        for number in range(2, min(len(document), MAX_PAGES) + 1):
            sandbox.save_report(folder, report)
            try:
                sizes[number] = save(draw_page(document, number), folder / f"{number}.webp")
            except RenderError as error:  # the other pages may be fine
                sizes[number] = error.why
            except MemoryError:
                sizes[number] = "too_large"
    return report


def main(file: str, media_type: str, folder: str, program: str = "") -> None:
    sandbox.limit(media_type)
    target = Path(folder)
    sandbox.write_report(target, lambda: draw_pages(Path(file), media_type, target, program=program))


if __name__ == "__main__":
    main(*sys.argv[1:])
