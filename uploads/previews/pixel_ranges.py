"""Pictures whose pixels are numbers rather than colours: heights, measurements, 16 bits of gray."""

from __future__ import annotations

import contextlib
import ctypes
import math
from array import array
from typing import Any

from PIL import Image, ImageOps, TiffImagePlugin

NODATA_TAG = 42113  # GDAL: the number that stands for "not measured", as text
PHOTOMETRIC_TAG, SAMPLE_FORMAT_TAG = 262, 339  # TIFF 6.0
WHITE_IS_ZERO = 0
UNSIGNED = {None, (1,)}
USUAL_HOLES = {-9999.0, -32767.0, -32768.0}  # written for "not measured" where no tag says so
LARGEST = 1e38  # beyond that numbers stand for holes as well
BRIGHTEST, DARK = 2**16 - 1, 2**12 - 1


def as_brightness(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in eight bits, in about this size: black is the least number, white the largest, holes are clear.

    Sixteen bits are shown by their upper half, unless they are measurements that would be all black.
    """
    hole = _hole(image)
    shown = _shown(image, size, hole)
    return ImageOps.invert(shown) if shown.mode == "L" and _tag(image, PHOTOMETRIC_TAG) == WHITE_IS_ZERO else shown


def _shown(image: Image.Image, size: tuple[int, int], hole: float | None) -> Image.Image:
    small = image if image.width <= size[0] else image.resize(size, _filter(image, hole))
    if small.mode.startswith("I;16"):
        small = small.convert("I")
        extremes: Any = small.getextrema()
        if hole is None and (image.format != "TIFF" or extremes[1] > DARK):
            return small.point(lambda value: value * (255 / BRIGHTEST)).convert("L")
    return _stretched(small, _numbers(small, image), hole)


def _filter(image: Image.Image, hole: float | None) -> Image.Resampling:
    """Numbers must not be mixed with what stands for none."""
    return Image.Resampling.LANCZOS if image.mode == "I;16" and hole is None else Image.Resampling.NEAREST


def _numbers(small: Image.Image, image: Image.Image) -> array[float] | array[int]:
    if small.mode == "F":
        return array("f", small.tobytes())
    return array("I" if image.format == "TIFF" and _tag(image, SAMPLE_FORMAT_TAG) in UNSIGNED else "i", small.tobytes())


def _stretched(small: Image.Image, numbers: array[float] | array[int], hole: float | None) -> Image.Image:
    holes = USUAL_HOLES if small.mode == "F" else set()
    if hole is not None:
        holes = holes | {hole, ctypes.c_float(hole).value}
    good = [number not in holes and -LARGEST < number < LARGEST for number in numbers]  # no NaN is
    known = [number for number, is_good in zip(numbers, good, strict=True) if is_good]
    least, most = (min(known), max(known)) if known else (0, 0)
    scale = 255 / ((most - least) or 1)
    gray = bytes(
        round((number - least) * scale) if is_good else 0 for number, is_good in zip(numbers, good, strict=True)
    )
    shown = Image.frombytes("L", small.size, gray)
    if len(known) < len(good):
        shown.putalpha(Image.frombytes("L", small.size, bytes(255 * is_good for is_good in good)))
    return shown


def _hole(image: Image.Image) -> float | None:
    with contextlib.suppress(ValueError, TypeError):
        number = float(str(_tag(image, NODATA_TAG)).strip(" \0"))
        return number if math.isfinite(number) else None
    return None


def _tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
