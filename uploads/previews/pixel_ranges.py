"""Pictures whose pixels are numbers rather than colors: heights, measurements, 16 bits of gray."""

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
COMMON_NODATA = {-9999.0, -32767.0, -32768.0}  # written for "not measured" where no tag says so
MAX_VALUE = 1e38  # larger numbers also mean "not measured"
WHITE, DARK = 2**16 - 1, 2**12 - 1


def as_brightness(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the picture in eight bits, scaled down to about `size`.

    Black is the least number, white the largest, and pixels that were not measured are transparent. Of sixteen bits
    the upper eight are shown, unless they are measurements that would be all black.
    """
    nodata = _nodata(image)
    shown = _to_eight_bits(image, size, nodata)
    return ImageOps.invert(shown) if shown.mode == "L" and _tag(image, PHOTOMETRIC_TAG) == WHITE_IS_ZERO else shown


def _to_eight_bits(image: Image.Image, size: tuple[int, int], nodata: float | None) -> Image.Image:
    small = image if image.width <= size[0] else image.resize(size, _resampling(image, nodata))
    if small.mode.startswith("I;16"):
        small = small.convert("I")
        extremes: Any = small.getextrema()
        if nodata is None and (image.format != "TIFF" or extremes[1] > DARK):
            return small.point(lambda value: value * (255 / WHITE)).convert("L")
    return _stretch_contrast(small, _numbers(small, image), nodata)


def _resampling(image: Image.Image, nodata: float | None) -> Image.Resampling:
    """Return NEAREST where interpolation would mix numbers with the value for "not measured"."""
    return Image.Resampling.LANCZOS if image.mode == "I;16" and nodata is None else Image.Resampling.NEAREST


def _numbers(small: Image.Image, image: Image.Image) -> array[float] | array[int]:
    if small.mode == "F":
        return array("f", small.tobytes())
    return array("I" if image.format == "TIFF" and _tag(image, SAMPLE_FORMAT_TAG) in UNSIGNED else "i", small.tobytes())


def _stretch_contrast(small: Image.Image, numbers: array[float] | array[int], nodata: float | None) -> Image.Image:
    nodata_values = COMMON_NODATA if small.mode == "F" else set()
    if nodata is not None:
        nodata_values = nodata_values | {nodata, ctypes.c_float(nodata).value}
    # a NaN fails both comparisons
    is_measured = [number not in nodata_values and -MAX_VALUE < number < MAX_VALUE for number in numbers]
    measured = [number for number, ok in zip(numbers, is_measured, strict=True) if ok]
    lowest, highest = (min(measured), max(measured)) if measured else (0, 0)
    scale = 255 / ((highest - lowest) or 1)
    gray = bytes(round((number - lowest) * scale) if ok else 0 for number, ok in zip(numbers, is_measured, strict=True))
    shown = Image.frombytes("L", small.size, gray)
    if len(measured) < len(is_measured):
        shown.putalpha(Image.frombytes("L", small.size, bytes(255 * ok for ok in is_measured)))
    return shown


def _nodata(image: Image.Image) -> float | None:
    with contextlib.suppress(ValueError, TypeError):
        number = float(str(_tag(image, NODATA_TAG)).strip(" \0"))
        return number if math.isfinite(number) else None
    return None


def _tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
