"""Rendering of unusual, broken and very large images."""

from __future__ import annotations

import io
import math
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from tests.support import pictures
from tests.support.pictures import BLUE, RED, as_file, has_color, opened, tiff, two_halves, with_chunks
from uploads.previews import render_image
from uploads.previews.renderer import RenderError

Draw = Callable[..., Image.Image]
NAN, INFINITE = math.nan, math.inf
ORIENTATION = 0x0112


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """`drawn(body, media_type)` returns the larger preview and asserts that the thumbnail has the same shape."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)

    def draw_file(body: bytes, media_type: str) -> Image.Image:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        (tmp_path / "file").write_bytes(body)
        render_image.draw(tmp_path / "file", media_type, tmp_path)
        large, small = (opened((tmp_path / f"{name}.webp").read_bytes()) for name in ("picture", "thumbnail"))
        assert (large.width < large.height) == (small.width < small.height)
        return large

    return draw_file


# --- orientation ---------------------------------------------------------------------------------

# For each orientation, the position of the red left half of an image of 600 by 300.
RED_AT = {
    1: (0.2, 0.5),
    2: (0.8, 0.5),
    3: (0.8, 0.5),
    4: (0.2, 0.5),
    5: (0.5, 0.2),
    6: (0.5, 0.2),
    7: (0.5, 0.8),
    8: (0.5, 0.8),
}
# The position of the green upper quarter of the left half.
DOT_AT = {
    1: (0.1, 0.1),
    2: (0.9, 0.1),
    3: (0.9, 0.9),
    4: (0.1, 0.9),
    5: (0.1, 0.1),
    6: (0.9, 0.1),
    7: (0.9, 0.9),
    8: (0.1, 0.9),
}
GREEN = (30, 200, 30)


def with_dot() -> Image.Image:
    image = two_halves(600, 300)
    image.paste(GREEN, (0, 0, 150, 75))
    return image


def with_orientation(image: Image.Image, kind: str, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return as_file(image, kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", RED_AT)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
     ("TIFF", {"compression": "tiff_deflate", "save_all": True, "append_images": [Image.new("RGB", (9, 9))]}),
     ("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("AVIF", {})],
    ids=["plain", "lzw", "jpeg in tiff", "pages", "JPEG", "PNG", "WEBP", "AVIF"],
)  # fmt: skip
def test_orientation_is_applied_in_every_format(
    drawn: Draw, kind: str, options: dict[str, object], orientation: int
) -> None:
    image = drawn(with_orientation(with_dot(), kind, orientation, **options), f"image/{kind.lower()}")
    assert image.size == ((300, 600) if orientation > 4 else (600, 300))
    assert has_color(image, *RED_AT[orientation], RED)
    assert has_color(image, *DOT_AT[orientation], GREEN)


@pytest.mark.parametrize("orientation", RED_AT)
@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "F", "CMYK", "RGBA", "fax"])
def test_orientation_is_applied_in_every_mode(drawn: Draw, mode: str, orientation: int) -> None:
    gray = with_dot().convert("L").point(lambda value: 255 if value > 100 else 0)
    image = gray.convert({"fax": "1", "I;16": "I"}.get(mode, mode))
    if mode == "I;16":
        image = Image.frombytes("I;16", gray.size, b"".join(struct.pack("<H", value * 257) for value in gray.tobytes()))
    options = {"compression": "group4"} if mode == "fax" else {}
    rendered = drawn(with_orientation(image, "TIFF", orientation, **options), "image/tiff")
    assert rendered.size == ((300, 600) if orientation > 4 else (600, 300))
    assert has_color(rendered, *DOT_AT[orientation], (255, 255, 255), by=60)
    assert has_color(rendered, *RED_AT[orientation], (0, 0, 0), by=60)


@pytest.mark.parametrize("orientation", RED_AT)
def test_orientation_is_applied_to_tiled_images(drawn: Draw, orientation: int) -> None:
    image, side = with_dot().resize((128, 64)), 64
    tiles = b"".join(image.crop((at, 0, at + side, side)).tobytes() for at in (0, 64))
    size = side * side * 3
    body = tiff(
        tiles, (8, 8, 8), 2, size=(128, 64), t322=[side], t323=[side], t324=[0, size], t325=[size, size],
        t274=[orientation],
    )  # fmt: skip
    rendered = drawn(body, "image/tiff")
    assert rendered.size == ((64, 128) if orientation > 4 else (128, 64))
    assert has_color(rendered, *RED_AT[orientation], RED)
    assert has_color(rendered, *DOT_AT[orientation], GREEN)


def test_invalid_orientation_is_ignored(drawn: Draw) -> None:
    jpeg = as_file(two_halves(), "JPEG")
    exif = b"\xff\xe1" + struct.pack(">H", 26) + b"Exif\0\0" + b"no such thing at all"[:18]
    assert has_color(drawn(jpeg[:2] + exif + jpeg[2:], "image/jpeg"), 0.25, 0.5, RED)
    assert has_color(drawn(with_chunks(as_file(two_halves()), (b"eXIf", b"nonsense")), "image/png"), 0.25, 0.5, RED)


# --- PDF forms -----------------------------------------------------------------------------------

WIDGETS = {
    "text": b"/Subtype/Widget/FT/Tx/V(words)/AP<</N 6 0 R>>",
    "check box": b"/Subtype/Widget/FT/Btn/V/Yes/AS/Yes/AP<</N<</Yes 6 0 R/Off 7 0 R>>>>",
    "radio button": b"/Subtype/Widget/FT/Btn/Ff 32768/V/A/AS/A/AP<</N<</A 6 0 R/Off 7 0 R>>>>",
    "choice": b"/Subtype/Widget/FT/Ch/Ff 131072/Opt[(a)(b)]/V(a)/AP<</N 6 0 R>>",
    "signature": b"/Subtype/Widget/FT/Sig/V<</Type/Sig/Filter/Adobe.PPKLite/Contents<00>>>/AP<</N 6 0 R>>",
    "stamp": b"/Subtype/Stamp/AP<</N 6 0 R>>",
    "scripts": b"/Subtype/Widget/FT/Tx/V(w)/AP<</N 6 0 R>>/AA<</PO<</S/JavaScript/JS(while\\(1\\){})>>>>",
}


@pytest.mark.parametrize("widget", WIDGETS)
def test_filled_form_fields_are_shown(drawn: Draw, widget: str) -> None:
    image = drawn(pictures.form(WIDGETS[widget]), "application/pdf")
    assert has_color(image, 0.75, 0.25, (0, 0, 255))
    assert has_color(image, 0.25, 0.75, (255, 255, 255))


def test_unchecked_box_is_shown_unchecked(drawn: Draw) -> None:
    field = WIDGETS["check box"].replace(b"/V/Yes/AS/Yes", b"/V/Off/AS/Off")
    assert has_color(drawn(pictures.form(field), "application/pdf"), 0.75, 0.25, (0, 255, 0))


def test_text_fields_without_appearance_are_rendered(drawn: Draw) -> None:
    field = b"/Subtype/Widget/FT/Tx/V(MMMMM)/DA(/Helv 40 Tf 0 0 1 rg)"
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    image = drawn(
        pictures.form(field, font, flags=b"/NeedAppearances true/DR<</Font<</Helv 8 0 R>>>>"), "application/pdf"
    )
    colours = image.convert("RGB").getcolors(2**24) or []
    assert sum(count for count, colour in colours if colour == (0, 0, 255)) > 1000


# --- PNG chunks ------------------------------------------------------------------------------------

LONG = zlib.compress(b"a1b2c3d4" * 2**18)
CHUNKS = {
    "long zTXt": [(b"zTXt", b"Raw\0\0" + LONG)],
    "long iTXt": [(b"iTXt", b"parameters\0\1\0\0\0" + LONG)],
    "many texts": [(b"tEXt", b"%d\0" % number + b"x" * 1_000_000) for number in range(70)],
    "long profile": [(b"iCCP", b"p\0\0" + zlib.compress(b"a" * 3_000_000))],
    "bomb of a profile": [(b"iCCP", b"p\0\0" + zlib.compress(b"a" * 40_000_000))],
    "profile packed unheard-of": [(b"iCCP", b"p\0\7abc")],
    "long exif": [(b"eXIf", b"MM\0*\0\0\0\x08\0\0" + bytes(3_000_000))],
    "short ones": [(kind, b"") for kind in (b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"acTL", b"fcTL", b"zTXt", b"tRNS")],
}


@pytest.mark.parametrize("at_end", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", CHUNKS)
def test_unusual_chunks_do_not_prevent_rendering(drawn: Draw, what: str, at_end: bool) -> None:
    image = drawn(with_chunks(as_file(two_halves()), *CHUNKS[what], at_end=at_end), "image/png")
    assert has_color(image, 0.25, 0.5, RED)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"pHYs", b"tIME", b"bKGD", b"prVt"])
def test_wrong_checksum_of_an_unused_chunk_is_ignored(drawn: Draw, kind: bytes) -> None:
    body = with_chunks(as_file(two_halves()), (kind, b"a\0b"), crc=b"\0\0\0\1")
    assert has_color(drawn(body, "image/png"), 0.75, 0.5, BLUE)


# --- truncated images ------------------------------------------------------------------------------


def photo() -> Image.Image:
    """Return a red and blue image with noise in the middle, so that a truncated file still has some pixels."""
    image = two_halves(1200, 800)
    image.paste(Image.effect_noise((600, 400), 80).convert("RGB"), (300, 200))
    return image


@pytest.mark.parametrize(
    ("kind", "options", "cut"),
    [("JPEG", {}, 2), ("JPEG", {}, 0.9), ("JPEG", {}, 0.5), ("JPEG", {"progressive": True}, 0.5), ("PNG", {}, 12),
     ("PNG", {}, 0.5), ("GIF", {"interlace": 0}, 0.5), ("WEBP", {}, 2), ("WEBP", {}, 0.5), ("BMP", {}, 0.9)],
)  # fmt: skip
def test_truncated_image_is_shown_as_far_as_possible(
    drawn: Draw, kind: str, options: dict[str, object], cut: float
) -> None:
    body = as_file(photo(), kind, **options)
    image = drawn(body[: int(len(body) * cut) if cut < 1 else -int(cut)], f"image/{kind.lower()}")
    assert image.size == (1200, 800)
    y = 0.95 if kind == "BMP" else 0.05  # BMP rows start at the bottom
    assert has_color(image, 0.25, y, RED, by=60)
    assert has_color(image, 0.75, y, BLUE, by=60)


def test_first_of_two_images_in_a_file_can_be_truncated(drawn: Draw) -> None:
    body = as_file(photo(), "MPO", save_all=True, append_images=[two_halves(30, 20)])
    second = body.index(b"\xff\xd8", 10)
    for broken in (body[: second - 900] + body[second:], body[: second - 900]):
        assert has_color(drawn(broken, "image/jpeg"), 0.25, 0.05, RED)


def test_image_of_one_color_that_lacks_two_bytes_is_rendered(drawn: Draw) -> None:
    for colour in (RED, (0, 0, 0), (255, 255, 255)):
        assert has_color(
            drawn(as_file(Image.new("RGB", (64, 64), colour), "JPEG")[:-2], "image/jpeg"), 0.5, 0.5, colour
        )


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_image_without_pixels_is_corrupted(drawn: Draw, mode: str, progressive: bool) -> None:
    body = as_file(photo().convert(mode), "JPEG", progressive=progressive)
    scan = body.index(b"\xff\xda")
    for end in (scan - 20, scan + 2 + int.from_bytes(body[scan + 2 : scan + 4], "big")):
        with pytest.raises(RenderError, match="corrupted"):
            drawn(body[:end], "image/jpeg")


# --- very large images -----------------------------------------------------------------------------


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`room(n)` sets the memory limit to n MiB."""
    return lambda mebibytes: monkeypatch.setattr(resource, "getrlimit", lambda _what: (mebibytes * 2**20,) * 2)


def of_size(width: int, height: int, **options: object) -> bytes:
    """Return a JPEG whose header declares this size."""
    body = as_file(two_halves(64, 64), "JPEG", **options)
    start = body.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    return body[: start + 5] + struct.pack(">HH", height, width) + body[start + 9 :]


def needed(body: bytes, media_type: str) -> int:
    return render_image._bytes_needed(Image.open(io.BytesIO(body)), media_type) // 2**20


def test_memory_estimate_depends_on_the_jpeg_encoding() -> None:
    Image.MAX_IMAGE_PIXELS = None
    assert needed(of_size(16384, 12288), "JPEG") < 64
    assert needed(of_size(65000, 3000), "JPEG") < 64
    assert 500 < needed(of_size(16384, 12288, progressive=True), "JPEG") < 700
    assert 1100 < needed(of_size(16384, 12288, progressive=True, subsampling=0), "JPEG") < 1300


def test_image_over_the_memory_limit_is_rejected_before_decoding(drawn: Draw, room: Callable[[int], None]) -> None:
    room(768)
    with pytest.raises(RenderError, match="too_large"):
        drawn(of_size(30000, 20000, progressive=True), "image/jpeg")
    for width, height in ((14_000, 14_000), (60_000, 60_000)):
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head)) + as_file(two_halves())[33:]
        with pytest.raises(RenderError, match="too_large"):
            drawn(png, "image/png")


def test_webp_that_needs_too_much_memory_is_too_large(drawn: Draw, room: Callable[[int], None]) -> None:
    room(768)
    webp = bytearray(as_file(two_halves(), "WEBP"))
    webp[26:30] = struct.pack("<HH", 16_000, 6_000)
    with pytest.raises(RenderError, match="too_large"):
        drawn(bytes(webp), "image/webp")


# --- numeric pixels, CMYK and Lab --------------------------------------------------------------------

COUNT = 60 * 40
RAMP = [float(number % 60) for number in range(COUNT)]


def floats(order: str, values: list[float]) -> bytes:
    return struct.pack(f"{order}{COUNT}f", *values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("hole", [NAN, INFINITE, -INFINITE, -9999.0, -3.4e38, 12345.0])
def test_float_pixels_are_scaled_and_missing_values_are_transparent(drawn: Draw, order: str, hole: float) -> None:
    values = [hole] * 600 + RAMP[600:]
    image = drawn(tiff(floats(order, values), [32], 1, order=order, t339=[3], t42113=b"12345\0"), "image/tiff")
    clear = image.convert("RGBA").getchannel("A")
    assert (clear.getpixel((30, 2)), clear.getpixel((30, 30))) == (0, 255)
    assert has_color(image, 0.02, 0.9, (0, 0, 0))
    assert has_color(image, 0.5, 0.9, (128, 128, 128))
    assert has_color(image, 0.98, 0.9, (255, 255, 255))


def test_image_without_values_is_transparent(drawn: Draw) -> None:
    image = drawn(tiff(floats("<", [NAN] * COUNT), [32], 1, t339=[3]), "image/tiff")
    assert image.convert("RGBA").getchannel("A").getextrema() == (0, 0)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("code", "bits", "kind", "factor"),
    [("d", 64, 3, 1.0), ("I", 32, 1, 70_000_000), ("i", 32, 2, 30_000_000), ("h", 16, 2, 500), ("H", 16, 1, 60),
     ("H", 16, 1, 1092)],
)  # fmt: skip
def test_numeric_pixels_of_any_type_are_scaled(
    drawn: Draw, order: str, code: str, bits: int, kind: int, factor: float
) -> None:
    values = [type(factor)(number) * factor for number in RAMP]
    image = drawn(
        tiff(struct.pack(f"{order}{COUNT}{code}", *values), [bits], 1, order=order, t339=[kind]), "image/tiff"
    )
    assert has_color(image, 0.02, 0.5, (0, 0, 0))
    assert has_color(image, 0.5, 0.5, (128, 128, 128))
    assert has_color(image, 0.98, 0.5, (252, 252, 252))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extra", [[1], [2], [1, 0], [2, 0]])
def test_extra_inks_are_ignored(drawn: Draw, order: str, extra: list[int]) -> None:
    pixel = bytes([0, 200, 200, 0, 255, 9][: 4 + len(extra)])
    body = tiff(pixel * COUNT, [8] * len(pixel), 5, order=order, t338=extra)
    assert has_color(drawn(body, "image/tiff"), 0.5, 0.5, (255, 55, 55))


def test_lab_colors_are_converted(drawn: Draw) -> None:
    red = drawn(tiff(bytes([140, 70, 40]) * COUNT, [8, 8, 8], 8), "image/tiff")
    assert has_color(red, 0.5, 0.5, (241, 57, 69))


def test_transparent_color_stays_transparent(drawn: Draw) -> None:
    palette = two_halves(60, 40).quantize(4)
    for image, given in (
        (palette, bytes([0, 0, 0, 0])),
        (Image.new("L", (60, 40), 9), 9),
        (Image.new("RGB", (60, 40), RED), RED),
    ):
        rendered = drawn(as_file(image, transparency=given), "image/png").convert("RGBA")
        assert rendered.getchannel("A").getextrema() == (0, 0)


def test_unsupported_layout_is_not_reported_as_corrupted(drawn: Draw) -> None:
    body = tiff(struct.pack("<3I", 1, 2, 3) * COUNT, [32, 32, 32], 2)
    with pytest.raises(RenderError, match="unsupported"):
        drawn(body, "image/tiff")
    with pytest.raises(RenderError, match="corrupted"):
        drawn(as_file(two_halves(), "TIFF")[:60], "image/tiff")
