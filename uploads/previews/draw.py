"""Decoding, turning and shrinking: what runs inside the child."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms

from uploads.previews.kinds import DOCUMENT, PICTURES

MOST_PIXELS = 100_000_000
SIDES = {"picture": 1600, "thumbnail": 320}  # the longer side, in pixels; each is made of the one before
QUALITY = 80
ORIENTATION = 0x0112  # Exif 3.0, "Orientation": how the camera was held
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SMALLEST_POINTS = 1.0

Image.MAX_IMAGE_PIXELS = None  # we look at the header ourselves, and refuse instead of warning


class Undrawable(Exception):
    """`why`: too_large, damaged or locked."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def draw(file: Path, media_type: str, folder: Path) -> dict[str, tuple[int, int]]:
    """Write `thumbnail.webp` and `picture.webp`; the width and height of each."""
    image = _page(file) if media_type == DOCUMENT else _picture(file, PICTURES[media_type])
    sizes = {}
    for look, side in SIDES.items():
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        image.info = {}  # where it was taken and by whom stays with the file
        image.save(folder / f"{look}.webp", "WEBP", quality=QUALITY, method=4)
        sizes[look] = image.size
    return sizes


def _picture(file: Path, decoder: str) -> Image.Image:
    try:
        with Image.open(file, formats=[decoder]) as image:
            return _shrunk(image)
    except (OSError, ValueError, SyntaxError, TypeError, EOFError, IndexError, KeyError) as error:
        raise Undrawable("damaged") from error


def _shrunk(image: Image.Image) -> Image.Image:
    """The first frame, upright, in sRGB, not much larger than what is kept."""
    if image.width * image.height > MOST_PIXELS:
        raise Undrawable("too_large")
    side = SIDES["picture"]
    image.draft(None, (side, side))  # a JPEG need not be decoded larger than it is shown
    profile, turned = image.info.get("icc_profile"), image.getexif().get(ORIENTATION, 1)
    small = _plain(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    shown = _in_srgb(small, profile)
    return shown.transpose(TURNS[turned]) if turned in TURNS else shown


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that can be shrunk without surprises: no palette, eight bits a channel."""
    if image.mode in {"P", "PA", "1"}:
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    image.load()
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen bits by their upper half; whole and broken numbers by what is the darkest and the brightest."""
    wide = image.convert("I") if image.mode.startswith("I;") else image
    extremes: Any = (0, 65535) if image.mode.startswith("I;") else wide.getextrema()
    least, most = (float(value) for value in extremes)
    scale = 255 / (most - least or 1.0)
    if not math.isfinite(scale):
        raise ValueError("no brightness")
    return wide.point(lambda value: value * scale - least * scale).convert("L")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as a browser shows them without a profile; a profile that makes no sense is left out."""
    mode = "RGBA" if image.mode in {"RGBA", "LA", "La", "RGBa"} else "RGB"
    if profile and image.mode in {"RGB", "CMYK", "RGBA"}:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            found = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            if found is not None:
                return found
    return image.convert(mode)


def _page(file: Path) -> Image.Image:
    """The first page of a PDF on white paper."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
        page = document[0]
        width, height = page.get_size()
        longest = max(width, height, SMALLEST_POINTS)
        if not math.isfinite(longest):
            raise Undrawable("damaged")
        bitmap = page.render(scale=SIDES["picture"] / longest, may_draw_forms=False)
        image: Image.Image = bitmap.to_pil()
        return image.convert("RGB")
    except pypdfium2.PdfiumError as error:
        raise Undrawable("locked" if "password" in str(error).lower() else "damaged") from error
    except (IndexError, ValueError) as error:
        raise Undrawable("damaged") from error
