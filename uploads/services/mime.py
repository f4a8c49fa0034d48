"""Detect media types from the first bytes: with libmagic, and our own rules where it is wrong or too vague."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator

import magic

from uploads.media_types import OLE, ZIP, canonical, is_kind_of, type_of_name
from uploads.previews.text_excerpt import marked_encoding, unmarked_wide_encoding

BINARY_BYTES = 2048
TEXT_BYTES = 512  # libmagic tries hundreds of expressions on text: more bytes cost milliseconds a file
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MARKUP = re.compile(rb"<\s*(?:[\w-]+:)?(html|svg|script|iframe|body)\b", re.IGNORECASE)
UTF8_BOM = b"\xef\xbb\xbf"
END_OF_TEXT = b"\x1a"  # written by DOS
EMPTY = "application/x-empty"
_UNKNOWN = {"application/octet-stream", EMPTY}

# Signatures that libmagic 5.46 does not detect in a buffer. If it detects a more specific type, that is used.
SIGNATURES = {
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": OLE,
    b"MSCF": "application/vnd.ms-cab-compressed",
}
_MEMBER = struct.Struct(
    "<4s2xHH8xI4xHH"
)  # signature, flags, method, packed size, lengths of name and extra; APPNOTE 4.3.7
_SIZE_COMES_LATER = 8  # APPNOTE 4.4.4, bit 3
_OFFICE = "application/vnd.openxmlformats-officedocument."
OFFICE_FOLDERS = {
    "word/": f"{_OFFICE}wordprocessingml.document",
    "xl/": f"{_OFFICE}spreadsheetml.sheet",
    "ppt/": f"{_OFFICE}presentationml.presentation",
    "visio/": "application/vnd.ms-visio.drawing",
}
OFFICE_PARTS = {"[Content_Types].xml", "_rels/.rels", "docProps/app.xml", "docProps/core.xml"}
ZIP_MEMBERS = {
    "META-INF/container.xml": "application/epub+zip",
    "AndroidManifest.xml": "application/vnd.android.package-archive",
    "classes.dex": "application/vnd.android.package-archive",
    "META-INF/MANIFEST.MF": "application/java-archive",
}
OLE_STREAMS = {
    "WordDocument": "application/msword",
    "Workbook": "application/vnd.ms-excel",
    "Book": "application/vnd.ms-excel",
    "PowerPoint Document": "application/vnd.ms-powerpoint",
    "VisioDocument": "application/vnd.visio",
    "__nameid_version1.0": "application/vnd.ms-outlook",
    "__properties_version1.0": "application/vnd.ms-outlook",
}


def detect_type(first_bytes: bytes, *, declared: str = "", name: str = "") -> str:
    """Return the media type of content with these first bytes; empty if it is unknown.

    The declared type, or else the type for the name, only counts if the bytes show a container that it is built on.
    """
    detected = canonical(_detect(first_bytes))
    if detected in _UNKNOWN:
        return ""
    candidates = (canonical(declared), type_of_name(name))
    return next((kind for kind in candidates if is_kind_of(kind, detected)), detected)


def _detect(first_bytes: bytes) -> str:
    if text := _as_utf8(first_bytes):
        return _text_type(text)
    if not _CONTROL.search(first_bytes.removesuffix(END_OF_TEXT)):
        return _text_type(first_bytes.removesuffix(END_OF_TEXT))
    detected = _magic().from_buffer(first_bytes[:BINARY_BYTES])
    container = next((kind for signature, kind in SIGNATURES.items() if first_bytes.startswith(signature)), "")
    if container == ZIP:
        return _zip_type(first_bytes, detected)
    if container and (detected in _UNKNOWN or detected.startswith("text/") or canonical(detected) == container):
        return _ole_type(first_bytes) if container == OLE else container
    if detected.startswith("text/") and 0 not in first_bytes:
        return _text_type(first_bytes)
    # libmagic takes trailing NULs for padding, and bytes before them for text
    return "" if detected == "text/plain" else detected


def _as_utf8(first_bytes: bytes) -> bytes:
    """Return UTF-16 and UTF-32 text as UTF-8; empty for everything else."""
    mark, encoding = marked_encoding(first_bytes)
    encoding = encoding or unmarked_wide_encoding(first_bytes)
    if not encoding or encoding == "utf-8":
        return b""
    text = first_bytes[len(mark) :].decode(encoding, "ignore")
    return b"" if "\0" in text else text.encode()


def _text_type(first_bytes: bytes) -> str:
    detected = _magic().from_buffer(first_bytes[:TEXT_BYTES])
    if not detected.startswith("text/") or not first_bytes.removeprefix(UTF8_BOM).lstrip().startswith(b"<"):
        return detected
    markup = _MARKUP.search(first_bytes)
    if markup:
        return "image/svg+xml" if markup[1].lower() == b"svg" else "text/html"
    return "text/xml" if detected == "text/plain" else detected


def _zip_type(first_bytes: bytes, detected: str) -> str:
    """Return the type by the members in these bytes, in any order. libmagic takes any folder `word` for a document."""
    members = dict(_members(first_bytes))
    declared = members.get("mimetype", b"").decode("ascii", "ignore").strip()
    if is_kind_of(declared, ZIP):
        return declared
    for folder, kind in OFFICE_FOLDERS.items():
        if not OFFICE_PARTS.isdisjoint(members) and any(name.startswith(folder) for name in members):
            return kind
    kind = next((kind for name, kind in ZIP_MEMBERS.items() if name in members), ZIP)
    return detected if kind == ZIP and detected not in _UNKNOWN and not detected.startswith(_OFFICE) else kind


def _members(first_bytes: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each zip member and, unless it is compressed, its content."""
    offset = 0
    while 0 <= offset <= len(first_bytes) - _MEMBER.size:
        signature, flags, method, size, name_length, extra_length = _MEMBER.unpack_from(first_bytes, offset)
        if signature != b"PK\x03\x04":
            break
        start = offset + _MEMBER.size + name_length + extra_length
        name = first_bytes[offset + _MEMBER.size :][:name_length].decode("utf-8", "replace")
        yield name, b"" if method else first_bytes[start : start + size]
        offset = first_bytes.find(b"PK\x03\x04", start) if flags & _SIZE_COMES_LATER and not size else start + size


def _ole_type(first_bytes: bytes) -> str:
    """Return the type by the streams that the directory names, as far as these bytes include it."""
    kinds = (kind for stream, kind in OLE_STREAMS.items() if stream.encode("utf-16-le") + b"\0\0" in first_bytes)
    return next(kinds, OLE)


@functools.cache
def _magic() -> magic.Magic:
    return magic.Magic(mime=True)
