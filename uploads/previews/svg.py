"""Draw SVG inside the child process, with nothing that lies outside of the file."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from uploads.previews.renderer import MAX_SIDE

SVG = "{http://www.w3.org/2000/svg}svg"
DEFAULT_SIZE = 300.0, 150.0  # CSS 2.2, 10.3.2
LENGTH = re.compile(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*(px|pt|pc|mm|cm|in)?\s*", re.IGNORECASE)
UNITS = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
INSIDE = ("#", "data:image/")  # resvg opens other addresses as paths of this machine


def draw_svg(file: Path) -> Image.Image:
    """Return the drawing with its longer side at MAX_SIDE. Raises ValueError if this is not SVG.

    Expat reads no external entities, and refuses those that expand beyond measure (CVE-2013-0340).
    """
    import resvg_py

    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError("invalid XML") from error
    if root.tag != SVG:
        raise ValueError("not SVG")
    for element in root.iter():
        for name, value in list(element.items()):
            if name.rpartition("}")[2] == "href" and not value.strip().lower().startswith(INSIDE):
                del element.attrib[name]
    _fit(root)
    png = resvg_py.svg_to_bytes(svg_string=ElementTree.tostring(root, encoding="unicode"))
    image = Image.open(io.BytesIO(png), formats=["PNG"])
    image.load()
    return image


def _fit(root: ElementTree.Element) -> None:
    """Set the size in which the drawing is drawn."""
    box = _view_box(root)
    width, height = _length(root.get("width")), _length(root.get("height"))
    if not (width and height):
        width, height = box[2:] if box else DEFAULT_SIZE
    scale = MAX_SIDE / max(width, height)
    root.set("viewBox", " ".join(map(str, box or (0.0, 0.0, width, height))))
    root.set("width", str(max(1.0, width * scale)))
    root.set("height", str(max(1.0, height * scale)))


def _view_box(root: ElementTree.Element) -> tuple[float, ...] | None:
    with contextlib.suppress(ValueError):
        box = tuple(float(number) for number in root.get("viewBox", "").replace(",", " ").split())
        if len(box) == 4 and min(box[2:]) > 0 and max(map(abs, box)) < float("inf"):
            return box
    return None


def _length(text: str | None) -> float:
    """Return the length in pixels, or 0 if it is relative, missing or invalid."""
    match = LENGTH.fullmatch(text or "")
    with contextlib.suppress(ValueError):
        number = float(match[1]) * UNITS[(match[2] or "px").lower()] if match else 0.0
        return number if number < float("inf") else 0.0
    return 0.0
