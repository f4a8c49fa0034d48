"""The media types that have previews, and their size limits. SVG and other formats of drawing commands have none."""

MIB = 1024**2

# Media type: the only decoder that may read it. No other is tried.
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
    """Return the size of the largest file of this type that is rendered, in bytes."""
    return MAX_DOCUMENT_BYTES if media_type == DOCUMENT else MAX_PICTURE_BYTES
