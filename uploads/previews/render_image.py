"""Draw the previews of a file inside the child process: decode, rotate and scale pictures, and draw pages."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import struct
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from uploads.previews.decoders import as_brightness, draw_page, draw_svg, embedded_jpeg, open_pdf, poster, to_pdf
from uploads.previews.renderer import (
    DOCUMENT,
    DOCUMENTS,
    MAX_PAGES,
    MAX_PICTURE_BYTES,
    MAX_SIDE,
    PICTURES,
    RAW,
    VIDEOS,
    RenderError,
)
from uploads.previews.sandbox import save_report

MIB = 1024**2
SIDES = {"picture": MAX_SIDE, "thumbnail": 320}  # the longer side, in pixels; each is scaled from the one before
QUALITY = 80
ORIENTATION = 0x0112  # Exif 3.0, "Orientation": how the camera was held
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {TRANSPOSES[orientation] for orientation in (5, 6, 7, 8)}
MAX_PROFILE_BYTES = 16 * MIB  # color profiles for printing have a few megabytes
MAX_PIXELS = 256_000_000  # more take a decoder longer than the child's timeout; JPEGs are decoded at a reduced size
# Memory besides the pixels: Python, the decoders' libraries, the scaled picture. Measured: 90 MiB.
BASE_BYTES = 128 * MIB
# Bytes that Pillow needs per pixel: one or two for a single channel, else four. Modes with transparency or a palette
# have a second picture while they are scaled.
PIXEL_BYTES = {"1": 2, "L": 1, "P": 5, "I;16": 2, "I;16B": 2, "RGBA": 8, "LA": 8, "La": 8, "PA": 12}
# Memory of the decoder besides Pillow's own picture, in bytes per pixel. Measured with libwebp 1.6, libavif 1.4 and
# libheif 1.23.
DECODER_BYTES = {"WEBP": 12, "AVIF": 8, "HEIF": 5}
ROWS_PER_STRIP, TILE_WIDTH = 278, 322  # TIFF 6.0
UNSUPPORTED = re.compile(r"unknown|unsupported|not supported|cannot handle", re.IGNORECASE)
CHUNK_HANDLER = re.compile(r"chunk_[a-z]...")
RIFF_HEADER = struct.Struct("<4sI")  # "RIFF", the length of what follows
# The pixels that a decoder leaves where it found no data: zeros, or middle gray in a JPEG.
BLANK = {"JPEG": {127, 128}, "MPO": {127, 128}}
BLANK_FROM_ROW = 16  # the first row of blocks of a JPEG without data can hold anything

Image.MAX_IMAGE_PIXELS = None  # _require_memory checks the header, and raises instead of warning
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE_BYTES


@dataclass(frozen=True, slots=True)
class Rendered:
    """The image that the previews are scaled from.

    `original` is the width and height of the picture itself in pixels, upright; None where that is not known.
    """

    image: Image.Image
    original: tuple[int, int] | None = None
    page_count: int | None = None


def draw(file: Path, media_type: str, folder: Path, *, program: str = "") -> dict[str, Any]:
    """Write `thumbnail.webp` and `picture.webp`, and return the report: `sizes`, the width and height of each, the
    `original` size of a picture, and the `page_count` of a document.

    `program` is the path of LibreOffice or ffmpeg, for the types that need it.

    Raises RenderError and MemoryError.
    """
    rendered = _render(file, media_type, folder, program)
    image, sizes = rendered.image, {}
    for kind, side in SIDES.items():
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        sizes[kind] = _save(image, folder / f"{kind}.webp")
    return {"sizes": sizes, "original": rendered.original, "page_count": rendered.page_count}


def draw_pages(file: Path, media_type: str, folder: Path, *, program: str = "") -> dict[str, Any]:
    """Write `2.webp`, `3.webp` and so on, the pages of a document after the first, and return the report:
    `page_count`, and the size of each page or why it has none.

    The report is saved before each page, so that the pages before one that ends the process are kept. Raises
    RenderError and MemoryError.
    """
    with open_pdf(_as_pdf(file, media_type, folder, program)) as document:
        sizes: dict[int, Any] = {}
        report = {"page_count": len(document), "sizes": sizes}
        for number in range(2, min(len(document), MAX_PAGES) + 1):
            save_report(folder, report)
            try:
                sizes[number] = _save(draw_page(document, number), folder / f"{number}.webp")
            except RenderError as error:  # the other pages may be fine
                sizes[number] = error.reason
            except MemoryError:
                sizes[number] = "too_large"
    return report


def _save(image: Image.Image, path: Path) -> tuple[int, int]:
    """Write a WebP without metadata, such as place and author, and return its size."""
    image.info = {}
    image.save(path, "WEBP", quality=QUALITY, method=4)
    return image.size


def _as_pdf(file: Path, media_type: str, folder: Path, program: str) -> Path:
    """Return the document as PDF. Raises RenderError."""
    return file if media_type == DOCUMENT else _require(to_pdf(file, media_type, folder, soffice=program))


def _render(file: Path, media_type: str, folder: Path, program: str) -> Rendered:
    if media_type in DOCUMENTS:
        return _render_first_page(file, media_type, folder, program)
    if media_type in VIDEOS:
        return _render_poster(file, folder, program)
    if PICTURES[media_type] == "SVG":
        return Rendered(_render_svg(file))
    with file.open("rb") as source:
        if PICTURES[media_type] == "TIFF" and (jpeg := embedded_jpeg(source)):  # a RAW photo
            return Rendered(_render_picture(io.BytesIO(jpeg.read(source)), "JPEG", jpeg.orientation).image)
        picture = _render_picture(source, PICTURES[media_type])
    # what a RAW photo has inside can be smaller than the photo
    return Rendered(picture.image) if media_type in RAW else picture


def _render_first_page(file: Path, media_type: str, folder: Path, program: str) -> Rendered:
    with open_pdf(_as_pdf(file, media_type, folder, program)) as document:
        return Rendered(draw_page(document, 1), page_count=len(document))


def _render_poster(file: Path, folder: Path, program: str) -> Rendered:
    with _require(poster(file, folder, ffmpeg=program)).open("rb") as frame:
        picture = _render_picture(frame, "PNG")
    may_be_scaled = max(picture.image.size) >= MAX_SIDE
    return Rendered(picture.image) if may_be_scaled else picture


def _require(converted: Path | None) -> Path:
    if converted is None:
        raise RenderError("unreadable")
    return converted


def _render_svg(file: Path) -> Image.Image:
    try:
        return draw_svg(file)
    except (ValueError, RecursionError) as error:
        raise RenderError("corrupted") from error


def _render_picture(source: BinaryIO, decoder: str, orientation: int = 1) -> Rendered:
    """Return the picture; of a broken file, as much of it as can be decoded. Raises RenderError, MemoryError.

    `orientation` counts if the picture has none of its own.
    """
    try:
        with warnings.catch_warnings(action="error"):
            return _decode_and_scale(source, decoder, orientation)
    except (RenderError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything
        reason = "unsupported" if UNSUPPORTED.search(str(error)) else "corrupted"
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    source.seek(0)
    try:
        return _decode_and_scale(_padded(source) if decoder == "WEBP" else source, decoder, orientation)
    except (RenderError, MemoryError):
        raise
    except Exception as error:
        raise RenderError(reason) from error


def _decode_and_scale(source: BinaryIO, decoder: str, orientation: int) -> Rendered:
    """Return the first frame, upright, in sRGB, not larger than the preview."""
    image = _open(source, decoder)
    _require_memory(image, decoder)
    (width, height), side = image.size, SIDES["picture"]
    # A JPEG can be decoded at a reduced size.
    image.draft(None, _fit_size((width, height), side))
    _load(image)
    # After loading: the TIFF plugin has rotated the picture by then, and removed the orientation.
    transpose = TRANSPOSES.get(_orientation(image, orientation))
    profile = image.info.get("icc_profile")
    small = _to_plain_mode(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    converted = _to_srgb(small, profile)
    upright = converted.transpose(transpose) if transpose is not None else converted
    return Rendered(upright, (height, width) if transpose in SIDEWAYS else (width, height))


def _padded(source: BinaryIO) -> BinaryIO:
    """Return a truncated WebP padded with zeros: libwebp refuses files shorter than their header says."""
    body = source.read()
    length = RIFF_HEADER.size + RIFF_HEADER.unpack_from(body)[1]
    return io.BytesIO(body.ljust(min(length, MAX_PICTURE_BYTES), b"\0"))


def _open(source: BinaryIO, decoder: str) -> ImageFile.ImageFile:
    """Read the picture's header, like Image.open, which hides why it failed.

    The file name is left out: with it, Pillow maps the file, and then mistakes the width of a rotated TIFF for its
    height.
    """
    Image.init()
    if decoder == "HEIF":
        _register_heif()
    if decoder == "WEBP":  # its decoder allocates everything here; Pillow raises above twice this number
        Image.MAX_IMAGE_PIXELS = _memory_left() // (4 + DECODER_BYTES["WEBP"]) // 2
    try:
        return Image.OPEN[decoder][0](source, "")
    except Image.DecompressionBombError as error:
        raise RenderError("too_large") from error
    finally:
        Image.MAX_IMAGE_PIXELS = None


def _register_heif() -> None:
    import pi_heif

    pi_heif.options.DECODE_THREADS = 1  # each thread has frames of its own
    pi_heif.register_heif_opener()


def _load(image: ImageFile.ImageFile) -> None:
    """Decode the picture. Raises RenderError where nothing of a broken file could be decoded."""
    try:
        image.load()
    except OSError:
        if not ImageFile.LOAD_TRUNCATED_IMAGES or image.tile:
            raise  # else libtiff stopped early, and what it had decoded is there
    if ImageFile.LOAD_TRUNCATED_IMAGES and _is_blank(image):
        raise RenderError("corrupted")


def _is_blank(image: ImageFile.ImageFile) -> bool:
    """Return whether nothing was decoded: all pixels are still as the decoder initialized them."""
    first = min(BLANK_FROM_ROW, image.height - 1)
    extremes: Any = image.crop((0, first, image.width, image.height)).getextrema()
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return all(lowest == highest and lowest in BLANK.get(image.format or "", {0}) for lowest, highest in bands)


def _require_memory(image: ImageFile.ImageFile, decoder: str) -> None:
    """Raise RenderError if the picture does not fit into the memory that this process may use."""
    if decoder != "JPEG" and image.width * image.height > MAX_PIXELS:
        raise RenderError("too_large")
    if _bytes_needed(image, decoder) > _memory_left():
        raise RenderError("too_large")


def _memory_left() -> int:
    """Return how many bytes this process may use for pixels."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return (sys.maxsize if limit == resource.RLIM_INFINITY else limit) - BASE_BYTES


def _bytes_needed(image: ImageFile.ImageFile, decoder: str) -> int:
    pixels = image.width * image.height
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        width, height = _fit_size(image.size, SIDES["picture"])
        return min(pixels, 4 * width * height) * 4 + _coefficient_bytes(image)
    per_pixel = PIXEL_BYTES.get(image.mode, 4) + (8 if "transparency" in image.info else 0)
    needed = pixels * (per_pixel + DECODER_BYTES.get(decoder, 0))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags, (_, height) = image.tag_v2, image.size
        if TILE_WIDTH not in tags and image.info["compression"] != "raw":
            needed += (
                min(int(tags.get(ROWS_PER_STRIP, height)), height) * image.width * 4
            )  # libtiff decodes whole strips
        needed += pixels * 4 if tags.get(ORIENTATION, 1) in TRANSPOSES else 0
    return needed


def _coefficient_bytes(image: JpegImagePlugin.JpegImageFile) -> int:
    """Return the bytes that libjpeg keeps of a progressive picture at any scale: two for each sample."""
    if not image.info.get("progressive"):
        return 0
    max_across, max_down = (max(layer[at] for layer in image.layer) for at in (1, 2))
    pixels = image.width * image.height
    return sum(2 * pixels * across * down // (max_across * max_down) for _, across, down, _ in image.layer)


def _fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size of a picture with these proportions whose longer side is `side` pixels."""
    longest = max(size)
    return max(1, size[0] * side // longest), max(1, size[1] * side // longest)


def _orientation(image: Image.Image, default: int) -> int:
    with contextlib.suppress(Exception):  # invalid Exif
        return int(image.getexif().get(ORIENTATION, default))
    return default


def _to_plain_mode(image: ImageFile.ImageFile) -> Image.Image:
    """Convert to a mode that scales well: no palette, eight bits per channel."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return as_brightness(image, _fit_size(image.size, SIDES["picture"]))
    if image.mode == "PA" or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in {"P", "1"}:
        return image.convert("RGB" if image.mode == "P" else "L")
    return image.convert("LA") if image.mode == "La" else image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB, which browsers assume without a profile. An invalid profile is ignored."""
    mode = "RGBA" if image.mode in {"RGBA", "LA", "RGBa"} else "RGB"
    source: Any = None
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif profile and image.mode in {"RGB", "CMYK", "RGBA"}:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source:
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            if converted is not None:
                return converted
    return image.convert(mode)


def _skip_text(self: PngImagePlugin.PngStream, _position: int, length: int) -> bytes:
    """Skip a text chunk without unpacking it: previews do not need it."""
    return cast(BinaryIO, self.fp).read(length)


def _ignore_errors(read: Callable[..., bytes]) -> Callable[..., bytes]:
    """Return a reader that skips an invalid chunk: the picture can be shown without it."""

    def read_or_skip(self: PngImagePlugin.PngStream, position: int, length: int) -> bytes:
        try:
            return read(self, position, length)
        except (EOFError, MemoryError):  # EOFError ends the header
            raise
        except Exception:
            source = cast(BinaryIO, self.fp)
            source.seek(position)
            return source.read(length)

    return read_or_skip


for handler in [name for name in vars(PngImagePlugin.PngStream) if CHUNK_HANDLER.fullmatch(name)]:
    is_text = handler in {"chunk_tEXt", "chunk_zTXt", "chunk_iTXt"}
    read = _skip_text if is_text else _ignore_errors(getattr(PngImagePlugin.PngStream, handler))
    setattr(PngImagePlugin.PngStream, handler, read)

# TIFF layouts that Pillow can unpack but does not list. Inks besides the four, including alpha, are ignored.
II, MM, LAYOUTS = TiffImagePlugin.II, TiffImagePlugin.MM, TiffImagePlugin.OPEN_INFO
for prefix in (II, MM):
    for inks in ((1,), (2,), (1, 0), (2, 0)):
        LAYOUTS[prefix, 5, (1,), 1, (8,) * (4 + len(inks)), inks] = ("CMYK", "CMYK" + "X" * len(inks))
for photometric in (0, 1):
    LAYOUTS[II, photometric, (3,), 1, (64,), ()] = ("F", "F;64F")
    LAYOUTS[MM, photometric, (3,), 1, (64,), ()] = ("F", "F;64BF")
    LAYOUTS[MM, photometric, (1,), 1, (32,), ()] = ("I", "I;32B")
    LAYOUTS[MM, photometric, (1,), 1, (16,), ()] = ("I;16B", "I;16B")
