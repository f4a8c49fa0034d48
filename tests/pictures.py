"""Pictures and documents for tests of previews, made when they are asked for."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

RED, BLUE = (200, 30, 30), (30, 30, 200)


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


def looks_like(image: Image.Image, x: float, y: float, colour: tuple[int, int, int], *, by: int = 30) -> bool:
    """Whether the picture has about this colour at a place, given as parts of its width and height."""
    found: Any = image.convert("RGB").getpixel((int(image.width * x), int(image.height * y)))
    return all(abs(one - other) <= by for one, other in zip(found, colour, strict=True))


def pdf(*, width: int = 200, height: int = 100, password: str = "") -> bytes:
    """One page with a red left half; with a password, as far as its trailer says so."""
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
