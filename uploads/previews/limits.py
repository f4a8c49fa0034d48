"""What pictures are made of, by media type. SVG and whatever else is drawn by instructions is not here."""

MIB = 1024**2

# Media type: the one decoder that may read it. A file is never tried with another.
PICTURES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/x-ms-bmp": "BMP",
    "image/tiff": "TIFF",
}
DOCUMENT = "application/pdf"

MAX_PICTURE_BYTES = 200 * MIB
MAX_DOCUMENT_BYTES = 100 * MIB


def max_source_bytes(media_type: str) -> int:
    """The largest file of this type that is looked at, in bytes."""
    return MAX_DOCUMENT_BYTES if media_type == DOCUMENT else MAX_PICTURE_BYTES
