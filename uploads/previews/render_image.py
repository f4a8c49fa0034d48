"""Decoding, turning and shrinking: what runs inside the child."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from uploads.previews.limits import DOCUMENT, MAX_PICTURE_BYTES, PICTURES
from uploads.previews.pixel_ranges import as_brightness

MIB = 1024**2
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
MIN_POINTS = 1.0
MAX_PROFILE_BYTES = 16 * MIB  # colour profiles for printing take a few megabytes
MAX_PIXELS = 256_000_000  # more take a decoder longer than the child may live; of a JPEG they cost little
# What the child takes beside the pixels: Python, the decoders' libraries, the picture that is kept. Measured: 90 MiB.
BASE_BYTES = 128 * MIB
# Pillow keeps a pixel in one byte where it is one small number, in two where that is larger, and else in four; of what
# is see-through, and of what has a palette, there is a second picture while it is shrunk.
PIXEL_BYTES = {"1": 2, "L": 1, "P": 5, "I;16": 2, "I;16B": 2, "RGBA": 8, "LA": 8, "La": 8, "PA": 12}
# What a decoder holds beside Pillow's own picture, in bytes a pixel; measured with libwebp 1.6 and libavif 1.4.
DECODER_BYTES = {"WEBP": 12, "AVIF": 8}
ROWS_PER_STRIP, TILE_WIDTH = 278, 322  # TIFF 6.0
UNSUPPORTED = re.compile(r"unknown|unsupported|not supported|cannot handle", re.IGNORECASE)
CHUNK_HANDLER = re.compile(r"chunk_[a-z]...")
RIFF_HEADER = struct.Struct("<4sI")  # "RIFF", the length of what follows
# What a decoder leaves where it found no data: zeros, or the middle gray of a JPEG.
BLANK = {"JPEG": {127, 128}, "MPO": {127, 128}}
BLANK_FROM_ROW = 16  # a JPEG without data has anything in its first row of blocks

Image.MAX_IMAGE_PIXELS = None  # we look at the header ourselves, and refuse instead of warning
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE_BYTES


class RenderError(Exception):
    """`why`: too_large, damaged, unsupported or locked."""

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
    """As it is written; where that does not go, as far as it goes. Raises Undrawable, MemoryError."""
    try:
        with warnings.catch_warnings(action="error"):
            return _shrunk(file, decoder)
    except (RenderError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything
        why = "unsupported" if UNSUPPORTED.search(str(error)) else "damaged"
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        return _shrunk(file, decoder)
    except (RenderError, MemoryError):
        raise
    except Exception as error:
        raise RenderError(why) from error


def _shrunk(file: Path, decoder: str) -> Image.Image:
    """The first frame, upright, in sRGB, not much larger than what is kept."""
    with _source(file, decoder) as source:
        image = _opened(source, decoder)
        _require_memory(image, decoder)
        whole, side = image.size, SIDES["picture"]
        # A JPEG need not be decoded larger than it is shown.
        image.draft(None, _fitting(whole, side))
        _load(image)
        # Only now: the reader of TIFFs has turned its picture, and forgot how it was held.
        turn = TURNS.get(_orientation(image))
        profile = image.info.get("icc_profile")
        small = _plain(image)
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        shown = _in_srgb(small, profile)
        return shown.transpose(turn) if turn is not None else shown


def _source(file: Path, decoder: str) -> BinaryIO:
    """The bytes of the file; of a broken WebP, with zeros where its end is missing: libwebp takes none that is
    shorter than it says."""
    if decoder != "WEBP" or not ImageFile.LOAD_TRUNCATED_IMAGES:
        return file.open("rb")
    body = file.read_bytes()
    length = RIFF_HEADER.size + RIFF_HEADER.unpack_from(body)[1]
    return io.BytesIO(body.ljust(min(length, MAX_PICTURE_BYTES), b"\0"))


def _opened(source: BinaryIO, decoder: str) -> ImageFile.ImageFile:
    """The picture's head. As Image.open, which keeps to itself why it could not read it.

    Without a name: Pillow would map the file, and takes the width of a turned TIFF for its height then.
    """
    Image.init()
    if decoder == "WEBP":  # whose decoder takes its memory at once; Pillow raises for twice as many pixels
        Image.MAX_IMAGE_PIXELS = _memory_left() // (4 + DECODER_BYTES["WEBP"]) // 2
    try:
        return Image.OPEN[decoder][0](source, "")
    except Image.DecompressionBombError as error:
        raise RenderError("too_large") from error
    finally:
        Image.MAX_IMAGE_PIXELS = None


def _load(image: ImageFile.ImageFile) -> None:
    """Decode. Raises Undrawable where a broken file has nothing to show."""
    try:
        image.load()
    except OSError:
        if not ImageFile.LOAD_TRUNCATED_IMAGES or image.tile:
            raise  # else libtiff broke off: what it had decoded is there
    if ImageFile.LOAD_TRUNCATED_IMAGES and _is_blank(image):
        raise RenderError("damaged")


def _is_blank(image: ImageFile.ImageFile) -> bool:
    """Whether nothing was decoded: all is what the decoder begins with."""
    first = min(BLANK_FROM_ROW, image.height - 1)
    extremes: Any = image.crop((0, first, image.width, image.height)).getextrema()
    bands = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return all(least == most and least in BLANK.get(image.format or "", {0}) for least, most in bands)


def _require_memory(image: ImageFile.ImageFile, decoder: str) -> None:
    """Raise Undrawable for what will not fit into the memory that this process may use."""
    if decoder != "JPEG" and image.width * image.height > MAX_PIXELS:
        raise RenderError("too_large")
    if _bytes_needed(image, decoder) > _memory_left():
        raise RenderError("too_large")


def _memory_left() -> int:
    """Bytes that this process may take for pixels."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return (sys.maxsize if limit == resource.RLIM_INFINITY else limit) - BASE_BYTES


def _bytes_needed(image: ImageFile.ImageFile, decoder: str) -> int:
    pixels = image.width * image.height
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        width, height = _fitting(image.size, SIDES["picture"])
        return min(pixels, 4 * width * height) * 4 + _coefficients(image)
    each = PIXEL_BYTES.get(image.mode, 4) + (8 if "transparency" in image.info else 0)
    needed = pixels * (each + DECODER_BYTES.get(decoder, 0))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags, (_, height) = image.tag_v2, image.size
        if TILE_WIDTH not in tags and image.info["compression"] != "raw":
            needed += (
                min(int(tags.get(ROWS_PER_STRIP, height)), height) * image.width * 4
            )  # libtiff decodes whole strips
        needed += pixels * 4 if tags.get(ORIENTATION, 1) in TURNS else 0
    return needed


def _coefficients(image: JpegImagePlugin.JpegImageFile) -> int:
    """Bytes that libjpeg keeps of a progressive picture, whatever the size it is decoded to: two for each sample."""
    if not image.info.get("progressive"):
        return 0
    most_across, most_down = (max(layer[at] for layer in image.layer) for at in (1, 2))
    pixels = image.width * image.height
    return sum(2 * pixels * across * down // (most_across * most_down) for _, across, down, _ in image.layer)


def _fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size of a picture of this shape whose longer side is `side`."""
    longest = max(size)
    return max(1, size[0] * side // longest), max(1, size[1] * side // longest)


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # Exif that makes no sense
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


def _plain(image: ImageFile.ImageFile) -> Image.Image:
    """In a mode that can be shrunk without surprises: no palette, eight bits a channel."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return as_brightness(image, _fitting(image.size, SIDES["picture"]))
    if image.mode == "PA" or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in {"P", "1"}:
        return image.convert("RGB" if image.mode == "P" else "L")
    return image.convert("LA") if image.mode == "La" else image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as a browser shows them without a profile; a profile that makes no sense is left out."""
    mode = "RGBA" if image.mode in {"RGBA", "LA", "RGBa"} else "RGB"
    source: Any = None
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif profile and image.mode in {"RGB", "CMYK", "RGBA"}:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source:
            found = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            if found is not None:
                return found
    return image.convert(mode)


def _page(file: Path) -> Image.Image:
    """The first page of a PDF on white paper, with what was filled in."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
        with contextlib.suppress(pypdfium2.PdfiumError):
            document.init_forms()  # fields are drawn then; this build of PDFium runs no scripts and knows no XFA
        page = document[0]
        width, height = page.get_size()
        longest = max(width, height, MIN_POINTS)
        if not longest < float("inf"):
            raise RenderError("damaged")
        bitmap = page.render(scale=SIDES["picture"] / longest, may_draw_forms=True)
        image: Image.Image = bitmap.to_pil()
        return image.convert("RGB")
    except pypdfium2.PdfiumError as error:
        raise RenderError("locked" if "password" in str(error).lower() else "damaged") from error
    except (IndexError, ValueError) as error:
        raise RenderError("damaged") from error


def _without_text(self: PngImagePlugin.PngStream, _position: int, length: int) -> bytes:
    """Skip a text chunk, which no preview needs: neither kept nor unpacked."""
    return cast(BinaryIO, self.fp).read(length)


def _optional(read: Callable[..., bytes]) -> Callable[..., bytes]:
    """A chunk without which the picture can be shown: one that makes no sense is left out."""

    def read_or_skip(self: PngImagePlugin.PngStream, position: int, length: int) -> bytes:
        try:
            return read(self, position, length)
        except (EOFError, MemoryError):  # the first ends the head of the picture
            raise
        except Exception:
            source = cast(BinaryIO, self.fp)
            source.seek(position)
            return source.read(length)

    return read_or_skip


for handler in [name for name in vars(PngImagePlugin.PngStream) if CHUNK_HANDLER.fullmatch(name)]:
    is_text = handler in {"chunk_tEXt", "chunk_zTXt", "chunk_iTXt"}
    read = _without_text if is_text else _optional(getattr(PngImagePlugin.PngStream, handler))
    setattr(PngImagePlugin.PngStream, handler, read)

# Layouts of TIFFs that Pillow can unpack and does not name. Inks beside the four, alpha among them, are left out.
II, MM, LAYOUTS = TiffImagePlugin.II, TiffImagePlugin.MM, TiffImagePlugin.OPEN_INFO
for prefix in (II, MM):
    for inks in ((1,), (2,), (1, 0), (2, 0)):
        LAYOUTS[prefix, 5, (1,), 1, (8,) * (4 + len(inks)), inks] = ("CMYK", "CMYK" + "X" * len(inks))
for photometric in (0, 1):
    LAYOUTS[II, photometric, (3,), 1, (64,), ()] = ("F", "F;64F")
    LAYOUTS[MM, photometric, (3,), 1, (64,), ()] = ("F", "F;64BF")
    LAYOUTS[MM, photometric, (1,), 1, (32,), ()] = ("I", "I;32B")
    LAYOUTS[MM, photometric, (1,), 1, (16,), ()] = ("I;16B", "I;16B")
