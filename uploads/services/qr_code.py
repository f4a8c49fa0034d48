"""QR codes of links."""

from __future__ import annotations

import base64
import io

import qrcode
from qrcode.image.svg import SvgPathImage


def qr_code(text: str) -> str:
    """Return a QR code as a data URI of an SVG picture: black on transparent, so its background must be white."""
    picture = qrcode.make(text, image_factory=SvgPathImage, border=2)
    stream = io.BytesIO()
    picture.save(stream)
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"
