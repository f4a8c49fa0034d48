"""Decode what Pillow cannot, inside the child process.

PDF, SVG, RAW photos, Office documents, videos, and pictures whose pixels are numbers rather than colors.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import math
import os
import re
import struct
import subprocess
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree

from PIL import Image, ImageOps, TiffImagePlugin

from uploads.previews.renderer import MAX_SIDE, OFFICE, RenderError

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument


# --- PDF -----------------------------------------------------------------------------------------

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


# --- SVG -----------------------------------------------------------------------------------------

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
    _set_size(root)
    png = resvg_py.svg_to_bytes(svg_string=ElementTree.tostring(root, encoding="unicode"))
    image = Image.open(io.BytesIO(png), formats=["PNG"])
    image.load()
    return image


def _set_size(root: ElementTree.Element) -> None:
    """Set the size in which the drawing is drawn."""
    box = _view_box(root)
    width, height = _css_length(root.get("width")), _css_length(root.get("height"))
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


def _css_length(text: str | None) -> float:
    """Return the length in pixels, or 0 if it is relative, missing or invalid."""
    match = LENGTH.fullmatch(text or "")
    with contextlib.suppress(ValueError):
        number = float(match[1]) * UNITS[(match[2] or "px").lower()] if match else 0.0
        return number if number < float("inf") else 0.0
    return 0.0


# --- RAW photos ----------------------------------------------------------------------------------
# CR2, NEF, ARW, DNG, PEF, SRW: all are TIFF. The sensor's data is not decoded: cameras add a JPEG, often in full size,
# for their own display.

MAX_DIRECTORIES, MAX_ENTRIES, MAX_VALUES = 32, 512, 64
MAX_SEGMENTS = 200  # of a JPEG before its size
# TIFF 6.0 and TIFF/EP (ISO 12234-2)
PHOTOMETRIC, STRIPS, ORIENTATION, STRIP_SIZES = 262, 273, 274, 279
SUB_DIRECTORIES, JPEG, JPEG_SIZE, EXIF, DNG_VERSION = 330, 513, 514, 34665, 50706
SENSOR_DATA = {32803, 34892}  # color filter array, linear raw
CR2_MARK = b"CR\x02"  # after the header
TIFF_TYPES = {1: "B", 3: "H", 4: "I", 13: "I"}  # byte, short, long, directory
JPEG_START = b"\xff\xd8"
FRAMES = {0xC0, 0xC1, 0xC2}  # of what browsers call a JPEG; RAW data is often a lossless one, 0xC3
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length

Directory = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A JPEG within a file, and the Exif orientation of the photo."""

    offset: int
    size: int
    orientation: int

    def read(self, source: BinaryIO) -> bytes:
        return _read_at(source, self.offset, self.size)


def embedded_jpeg(source: BinaryIO) -> Embedded | None:
    """Return the largest JPEG in a RAW file, or None for other files and for RAW files without one."""
    header = _read_at(source, 0, 16)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(header[:4])
    if not order or len(header) < 8:
        return None
    directories = list(_directories(source, order, struct.unpack(f"{order}I", header[4:8])[0]))
    is_raw = header[8:11] == CR2_MARK or any(
        DNG_VERSION in directory or SENSOR_DATA.intersection(directory.get(PHOTOMETRIC, ()))
        for directory in directories
    )
    if not is_raw:
        return None
    orientation = next((directory[ORIENTATION][0] for directory in directories if directory.get(ORIENTATION)), 1)
    candidates = [place for directory in directories for place in _jpeg_places(directory)]
    pixels = {place: _jpeg_pixels(source, *place) for place in candidates}
    best = max(pixels, key=lambda place: pixels[place], default=None)
    return Embedded(*best, orientation) if best and pixels[best] else None


def _directories(source: BinaryIO, order: str, first: int) -> Iterator[Directory]:
    """Yield each directory of the file once, even if several entries point to it."""
    offsets, seen = [first], set[int]()
    while offsets and len(seen) < MAX_DIRECTORIES:
        offset = offsets.pop(0)
        if not offset or offset in seen:
            continue
        seen.add(offset)
        directory, following = _directory(source, order, offset)
        yield directory
        offsets += [*directory.get(SUB_DIRECTORIES, ()), *directory.get(EXIF, ()), following]


def _directory(source: BinaryIO, order: str, offset: int) -> tuple[Directory, int]:
    """Return the tags that are whole numbers, and the offset of the following directory."""
    count = int.from_bytes(_read_at(source, offset, 2), "little" if order == "<" else "big")
    if count > MAX_ENTRIES:
        return {}, 0
    body = _read_at(source, offset + 2, count * 12 + 4)
    directory = {}
    for at in range(0, min(count * 12, len(body) - 11), 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", body, at)
        if kind not in TIFF_TYPES or not 0 < length <= MAX_VALUES:
            continue
        values = struct.Struct(f"{order}{length}{TIFF_TYPES[kind]}")
        raw = body[at + 8 : at + 12]
        if values.size > 4:
            raw = _read_at(source, struct.unpack(f"{order}I", raw)[0], values.size)
        if len(raw) >= values.size:
            directory[tag] = values.unpack_from(raw)
    following = struct.unpack_from(f"{order}I", body, count * 12)[0] if len(body) >= count * 12 + 4 else 0
    return directory, following


def _jpeg_places(directory: Directory) -> Iterator[tuple[int, int]]:
    """Yield the offset and size of what may be a JPEG."""
    for offset_tag, size_tag in ((JPEG, JPEG_SIZE), (STRIPS, STRIP_SIZES)):
        offsets, sizes = directory.get(offset_tag, ()), directory.get(size_tag, ())
        if len(offsets) == len(sizes) == 1:
            yield offsets[0], sizes[0]


def _jpeg_pixels(source: BinaryIO, offset: int, size: int) -> int:
    """Return how many pixels the JPEG there has; 0 if there is no JPEG, or one that only RAW converters decode."""
    end = offset + size
    if _read_at(source, offset, 2) != JPEG_START:
        return 0
    at = offset + 2
    for _ in range(MAX_SEGMENTS):
        marker = _read_at(source, at, 4)
        if at >= end or len(marker) < 4 or marker[0] != 0xFF:
            return 0
        if marker[1] in FRAMES:
            height, width = struct.unpack(">HH", _read_at(source, at + 5, 4).ljust(4, b"\0"))
            return int(width * height)
        if marker[1] == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 if marker[1] in ALONE else 2 + struct.unpack(">H", marker[2:])[0]
    return 0


def _read_at(source: BinaryIO, offset: int, size: int) -> bytes:
    return os.pread(source.fileno(), size, offset)


# --- Office documents and videos, with LibreOffice and ffmpeg --------------------------------------
# The programs run where they are installed, and share the limits of the child process.

# No links to other files or addresses, no macros. The sandbox has no network in any case.
OFFICE_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="MacroSecurityLevel" oor:op="fuse"><value>3</value></prop></item>
<item oor:path="/org.openoffice.Office.Writer/Content/Update">
<prop oor:name="Link" oor:op="fuse"><value>2</value></prop></item>
<item oor:path="/org.openoffice.Office.Calc/Content/Update">
<prop oor:name="Link" oor:op="fuse"><value>2</value></prop></item>
</oor:items>
"""
# Containers with one film inside. Playlists, which name other files, are not among them.
VIDEO_FORMATS = "asf,avi,flv,matroska,mov,mpeg,mpegts,ogg,webm"
POSTER_POSITIONS = 1, 0  # in seconds: the first frame of many films is black; some are shorter than a second


def to_pdf(document: Path, media_type: str, folder: Path, *, soffice: str) -> Path | None:
    """Return the document as PDF; None if LibreOffice cannot open it."""
    profile, source = folder / "profile", folder / f"document{OFFICE[media_type]}"
    (profile / "user").mkdir(parents=True)
    (profile / "user" / "registrymodifications.xcu").write_text(OFFICE_PROFILE)
    source.symlink_to(document.resolve())
    options = ["--headless", "--norestore", "--nolockcheck", "--convert-to", "pdf", "--outdir", str(folder)]
    _run([soffice, f"-env:UserInstallation={profile.resolve().as_uri()}", *options, str(source)], folder)
    pdf = source.with_suffix(".pdf")
    return pdf if pdf.exists() else None


def poster(video: Path, folder: Path, *, ffmpeg: str) -> Path | None:
    """Return a frame of the video as PNG, not larger than the preview; None if ffmpeg cannot decode one."""
    target = folder / "poster.png"
    scale = f"scale='min({MAX_SIDE},iw)':'min({MAX_SIDE},ih)':force_original_aspect_ratio=decrease"
    for position in POSTER_POSITIONS:
        _run(
            [ffmpeg, "-nostdin", "-loglevel", "quiet", "-threads", "1", "-protocol_whitelist", "file",
             "-format_whitelist", VIDEO_FORMATS, "-ss", str(position), "-i", str(video), "-map", "0:v:0",
             "-frames:v", "1", "-vf", scale, "-threads", "1", "-f", "image2", "-c:v", "png", str(target)], folder,
        )  # fmt: skip
        if target.exists() and target.stat().st_size:
            return target
    return None


def _run(command: list[str], folder: Path) -> None:
    environment = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder)}
    subprocess.run(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, check=False)


# --- pictures whose pixels are numbers -----------------------------------------------------------

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
