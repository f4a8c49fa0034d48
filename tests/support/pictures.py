"""Pictures and documents for tests of previews, created on demand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

RED, BLUE = (200, 30, 30), (30, 30, 200)
LONGS = {273, 279, 324, 325}  # TIFF tags with four-byte values: offsets and sizes of pixel data


def two_halves(width: int = 640, height: int = 400) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def as_file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body))


def has_color(image: Image.Image, x: float, y: float, colour: tuple[int, int, int], *, by: int = 30) -> bool:
    """Return whether the pixel at these fractions of width and height has about this color."""
    pixel: Any = image.convert("RGB").getpixel((int(image.width * x), int(image.height * y)))
    return all(abs(channel - other) <= by for channel, other in zip(pixel, colour, strict=True))


def pdf(*, width: int = 200, height: int = 100, password: str = "") -> bytes:
    """Return a PDF of one page with a red left half; with a password, the trailer marks it as encrypted."""
    drawn = f"1 0 0 rg 0 0 {width // 2} {height} re f".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} {height}]/Contents 4 0 R/Resources<<>>>>".encode(),
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
    ]
    locked = b""
    if password:
        secret = password.encode().hex().ljust(64, "0").encode()
        objects.append(b"<</Filter/Standard/V 1/R 2/P -44/O<%s>/U<%s>>>" % (secret, secret))
        locked = b"/Encrypt 5 0 R/ID[<00><00>]"
    return _written(objects, locked)


def document(count: int, *, broken: Sequence[int] = (), width: int = 595, height: int = 842) -> bytes:
    """Return a PDF with so many pages, each with its number and as many columns of ten points in red at its left edge.
    The objects of `broken` pages are missing."""
    numbers = range(1, count + 1)
    kids = b" ".join(b"%d 0 R" % (999 if number in broken else 2 + 2 * number) for number in numbers)
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count)]
    objects.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for number in numbers:
        drawn = b"1 0 0 rg 0 0 %d %d re f 0 g BT /F 48 Tf 60 %d Td (Page %d) Tj ET" % (
            10 * number, height // 8, height - 120, number,
        )  # fmt: skip
        page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>>>>>"
        objects += [
            page % (width, height, 3 + 2 * number),
            b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        ]
    return _written(objects, b"")


def number_of_page(image: Image.Image, *, width: int = 595) -> int:
    """Return the number of this page of a `document`."""
    columns = (has_color(image, (10 * column - 5) / width, 0.95, (255, 0, 0)) for column in range(1, width // 10))
    return sum(columns)


def form(field: bytes, *more: bytes, flags: bytes = b"") -> bytes:
    """Return a PDF with one field in the upper right quarter; objects 6 and 7 are blue and green appearances."""
    boxes = [
        b"<</Type/XObject/Subtype/Form/BBox[0 0 100 50]/Length %d>>stream\n%s\nendstream" % (len(drawn), drawn)
        for drawn in (b"0 0 1 rg 0 0 100 50 re f", b"0 1 0 rg 0 0 100 50 re f")
    ]
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Resources<<>>/Annots[5 0 R]>>"
    widget = b"<</Type/Annot/Rect[100 50 200 100]/F 4/T(a)%s>>" % field
    catalog = b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[5 0 R]/DA(/Helv 0 Tf 0 g)%s>>>>" % flags
    return _written([catalog, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page, b"null", widget, *boxes, *more], b"")


def tiff(
    samples: bytes,
    bits: Sequence[int],
    photometric: int,
    *,
    size: tuple[int, int] = (60, 40),
    order: str = "<",
    **tags: Sequence[int] | bytes,
) -> bytes:
    """Return an uncompressed TIFF with one strip and additional tags by number, such as `t338=[2]`."""
    width, height = size
    known: dict[int, Sequence[int] | bytes] = {
        256: [width], 257: [height], 258: bits, 259: [1], 262: [photometric], 277: [len(bits)], 278: [height], 284: [1],
        **{int(name[1:]): value for name, value in tags.items()},
    }  # fmt: skip
    if 322 not in known:
        known |= {273: [0], 279: [len(samples)]}
    room = {tag: _written_values(tag, value, order) for tag, value in sorted(known.items())}
    start = 8 + 2 + 12 * len(known) + 4
    data = start + sum(len(raw) + len(raw) % 2 for raw in room.values() if len(raw) > 4)
    offsets = 324 if 322 in known else 273
    room[offsets] = _written_values(offsets, [data + at for at in known[offsets]], order)
    body, far = struct.pack(order + "H", len(known)), b""
    for tag, raw in room.items():
        kind = 2 if isinstance(known[tag], bytes) else 4 if tag in LONGS else 3
        place = struct.pack(order + "I", start + len(far)) if len(raw) > 4 else raw.ljust(4, b"\0")
        far += raw + b"\0" * (len(raw) % 2) if len(raw) > 4 else b""
        body += struct.pack(order + "HHI", tag, kind, len(known[tag])) + place
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + body + bytes(4) + far + samples


def _written_values(tag: int, values: Sequence[int] | bytes, order: str) -> bytes:
    if isinstance(values, bytes):
        return values
    return struct.pack(f"{order}{len(values)}{'I' if tag in LONGS else 'H'}", *values)


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes], crc: bytes | None = None, at_end: bool = False) -> bytes:
    """Add chunks to a PNG, before or after its pixels, with this CRC or the correct one."""
    chunks_ = b"".join(
        struct.pack(">I", len(data)) + kind + data + (crc or struct.pack(">I", zlib.crc32(kind + data)))
        for kind, data in chunks
    )
    place = len(png) - 12 if at_end else 33
    return png[:place] + chunks_ + png[place:]


def _written(objects: list[bytes], locked: bytes) -> bytes:
    body, places = bytearray(b"%PDF-1.4\n"), []
    for number, text in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    body += b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, locked, start)
    return bytes(body)
