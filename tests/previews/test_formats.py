"""HEIC, SVG and RAW: rendered correctly, without external resources."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from tests.support.pictures import BLUE, RED, as_file, has_color, opened, two_halves
from uploads.media_types import type_of_name
from uploads.previews import PreviewFailed, render
from uploads.previews.decoders import embedded_jpeg
from uploads.services.mime import detect_type

pytestmark = pytest.mark.slow

HEIC = Path(__file__).parents[1] / "fixtures" / "two-halves.heic"  # 60 by 40 pixels, by libheif and x265
HREF = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 20 10"'
ENTITIES = "".join(f'<!ENTITY a{level} "{f"&a{level - 1};" * 30}">' for level in range(1, 10))
BOMB = f'<!DOCTYPE svg [<!ENTITY a0 "aaaaaaaaaa">{ENTITIES}]><svg {HREF}><text>&a9;</text></svg>'


def picture(tmp_path: Path, body: bytes, media_type: str) -> Image.Image:
    """Render the file in the sandbox."""
    file, folder = tmp_path / "file", tmp_path / "drawn"
    file.write_bytes(body)
    folder.mkdir()
    return opened(render(file, media_type, folder, seconds=120)["picture"].body)


# --- HEIC ------------------------------------------------------------------------------------------


def test_heic_is_rendered(tmp_path: Path) -> None:
    body = HEIC.read_bytes()
    assert detect_type(body) == "image/heic"
    image = picture(tmp_path, body, "image/heic")
    assert image.size == (60, 40)
    assert has_color(image, 0.25, 0.5, RED)
    assert has_color(image, 0.75, 0.5, BLUE)


@pytest.mark.parametrize("length", [40, 200, 0.5, 0.9])
def test_truncated_heic_is_corrupted(tmp_path: Path, length: float) -> None:
    body = HEIC.read_bytes()
    with pytest.raises(PreviewFailed, match="corrupted"):
        picture(tmp_path, body[: int(length if length > 1 else len(body) * length)], "image/heic")


def test_heic_that_claims_to_be_huge_is_refused_before_decoding(tmp_path: Path) -> None:
    body = HEIC.read_bytes().replace(b"clap", b"free")  # the crop to 60 by 40
    size_at = body.index(b"ispe") + 8  # ISO/IEC 23008-12, 6.5.3
    huge = body[:size_at] + struct.pack(">II", 30_000, 30_000) + body[size_at + 8 :]
    with pytest.raises(PreviewFailed, match="too_large"):
        picture(tmp_path, huge, "image/heic")


# --- SVG -------------------------------------------------------------------------------------------

BOX = f'<rect width="10" height="10" fill="rgb{RED}"/><rect x="10" width="10" height="10" fill="rgb{BLUE}"/>'


@pytest.mark.parametrize(
    "size", ["", 'width="20" height="10"', 'width="100%" height="100%"', 'width="1e9" height="5e8"', 'width="-1"']
)
def test_svg_is_rendered_in_full_size(tmp_path: Path, size: str) -> None:
    image = picture(tmp_path, f"<svg {HREF} {size}>{BOX}</svg>".encode(), "image/svg+xml")
    assert image.size == (1600, 800)
    assert has_color(image, 0.25, 0.5, RED)
    assert has_color(image, 0.75, 0.5, BLUE)


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_svg_in_any_encoding_is_rendered(tmp_path: Path, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><svg {HREF}><title>Ä</title>{BOX}</svg>'
    assert has_color(picture(tmp_path, text.encode(encoding), "image/svg+xml"), 0.25, 0.5, RED)


@pytest.mark.parametrize("attribute", ["href", "xlink:href"])
@pytest.mark.parametrize("prefix", ["", "file://", " ", "&#9;"])
def test_svg_cannot_include_files_of_the_worker(tmp_path: Path, attribute: str, prefix: str) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(as_file(two_halves()))
    image = f'<image {attribute}="{prefix}{secret}" width="20" height="10"/>'
    drawn = picture(tmp_path, f"<svg {HREF}>{image}</svg>".encode(), "image/svg+xml")
    assert drawn.convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_svg_shows_embedded_images(tmp_path: Path) -> None:
    data = base64.b64encode(as_file(two_halves())).decode()
    body = f'<svg {HREF}><image href="data:image/png;base64,{data}" width="20" height="10"/></svg>'
    assert has_color(picture(tmp_path, body.encode(), "image/svg+xml"), 0.25, 0.5, RED)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg {HREF}><text>&x;</text></svg>',
        "<html xmlns='http://www.w3.org/1999/xhtml'/>",
        "<svg",
        f"<svg {HREF}>" + "<g>" * 200_000,
        f"<svg {HREF}>" + "<g>" * 100_000 + "</g>" * 100_000 + "</svg>",
    ],
    ids=["entity bomb", "external entity", "no SVG", "cut", "cut deep", "deep"],
)
def test_hostile_svg_fails_with_a_reason(tmp_path: Path, body: str) -> None:
    with pytest.raises(PreviewFailed, match="corrupted"):
        picture(tmp_path, body.encode(), "image/svg+xml")


# --- RAW -------------------------------------------------------------------------------------------


def raw(jpegs: list[bytes], *, order: str = "<", orientation: int = 1, compression: int = 1) -> bytes:
    """Return a RAW file: a main directory, and subdirectories for the sensor data and for each JPEG."""
    body = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))

    def add(entries: dict[int, tuple[str, list[int]]]) -> int:
        packed = []
        for tag, (code, values) in sorted(entries.items()):
            data = struct.pack(f"{order}{len(values)}{code}", *values)
            if len(data) > 4:
                body.extend(data)
                data = struct.pack(f"{order}I", len(body) - len(data))
            packed.append(struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(values)) + data.ljust(4, b"\0"))
        body.extend(struct.pack(f"{order}H", len(packed)) + b"".join(packed) + bytes(4))
        return len(body) - 4 - len(packed) * 12 - 2

    sensor = {256: ("I", [4]), 257: ("I", [4]), 259: ("H", [compression]), 262: ("H", [32803])}
    offsets = [add(sensor)]
    for jpeg in jpegs:
        body += jpeg
        offsets.append(add({513: ("I", [len(body) - len(jpeg)]), 514: ("I", [len(jpeg)])}))
    first = add({274: ("H", [orientation]), 330: ("I", offsets)})
    body[4:8] = struct.pack(f"{order}I", first)
    return bytes(body)


def jpeg(width: int, height: int) -> bytes:
    return as_file(two_halves(width, height), "JPEG")


@pytest.mark.parametrize("order", "<>")
def test_the_largest_jpeg_of_a_raw_photo_is_shown_upright(tmp_path: Path, order: str) -> None:
    image = picture(
        tmp_path, raw([jpeg(160, 120), jpeg(600, 300), jpeg(60, 30)], order=order, orientation=6), "image/tiff"
    )
    assert image.size == (300, 600)
    assert has_color(image, 0.5, 0.25, RED)
    assert has_color(image, 0.5, 0.75, BLUE)


def test_lossless_jpeg_is_not_used_as_the_preview(tmp_path: Path) -> None:
    lossless = bytearray(jpeg(600, 300))
    lossless[lossless.index(b"\xff\xc0") + 1] = 0xC3
    assert picture(tmp_path, raw([bytes(lossless), jpeg(60, 30)]), "image/x-adobe-dng").size == (60, 30)


def test_type_of_raw_photos_that_look_like_tiff_follows_their_name() -> None:
    body = raw([jpeg(60, 30)])
    assert detect_type(body, name="IMG_1.NEF") == type_of_name("IMG_1.NEF") == "image/x-nikon-nef"
    assert detect_type(body, name="scan.tiff") == "image/tiff"
    assert detect_type(jpeg(60, 30), name="IMG_1.NEF") == "image/jpeg"


def test_fuzzed_raw_photos_yield_a_jpeg_or_nothing(tmp_path: Path) -> None:
    body, random, file = raw([jpeg(160, 120), jpeg(60, 30)]), Random(1), tmp_path / "file"
    for _ in range(2000):
        fuzzed = bytearray(body[: random.choice([len(body), random.randrange(len(body))])])
        for _ in range(random.randrange(1, 12)):
            if fuzzed:
                fuzzed[random.randrange(len(fuzzed))] = random.randrange(256)
        file.write_bytes(fuzzed)
        with file.open("rb") as source:
            jpeg_of = embedded_jpeg(source)
            assert jpeg_of is None or jpeg_of.read(source).startswith(b"\xff\xd8")
