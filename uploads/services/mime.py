"""What a file is, by its first bytes: libmagic's word, and our own where that is wrong or says too little."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator

import magic

from uploads.media_types import OLE, ZIP, canonical, is_kind_of, type_of_name
from uploads.previews.text_encoding import marked_encoding, unmarked_wide_encoding

BINARY_BYTES = 2048
TEXT_BYTES = 512  # libmagic tries hundreds of expressions on text: more bytes cost milliseconds a file
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MARKUP = re.compile(rb"<\s*(?:[\w-]+:)?(html|svg|script|iframe|body)\b", re.IGNORECASE)
UTF8_BOM = b"\xef\xbb\xbf"
END_OF_TEXT = b"\x1a"  # as DOS wrote it
EMPTY = "application/x-empty"
_UNKNOWN = {"application/octet-stream", EMPTY}

# What libmagic 5.46 does not know in a buffer; where it says more of one of them, that stands.
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


def detect_type(first_bytes: bytes, *, claimed: str = "", name: str = "") -> str:
    """The media type of content that begins so; empty when nothing can be told.

    What the sender claims, or else what the name says, only counts where the bytes show a container and it is a kind
    of that one.
    """
    found = canonical(_detected(first_bytes))
    if found in _UNKNOWN:
        return ""
    said = (canonical(claimed), type_of_name(name))
    return next((kind for kind in said if is_kind_of(kind, found)), found)


def _detected(first_bytes: bytes) -> str:
    if text := _narrowed(first_bytes):
        return _of_text(text)
    if not _CONTROL.search(first_bytes.removesuffix(END_OF_TEXT)):
        return _of_text(first_bytes.removesuffix(END_OF_TEXT))
    found = _magic().from_buffer(first_bytes[:BINARY_BYTES])
    container = next((kind for begin, kind in SIGNATURES.items() if first_bytes.startswith(begin)), "")
    if container == ZIP:
        return _of_zip(first_bytes, found)
    if container and (found in _UNKNOWN or found.startswith("text/") or canonical(found) == container):
        return _of_ole(first_bytes) if container == OLE else container
    if found.startswith("text/") and 0 not in first_bytes:
        return _of_text(first_bytes)
    # libmagic takes NULs at the end for padding, and what stands before them for words
    return "" if found == "text/plain" else found


def _narrowed(first_bytes: bytes) -> bytes:
    """Text of two or four bytes a letter as UTF-8; empty for everything else."""
    mark, encoding = marked_encoding(first_bytes)
    encoding = encoding or unmarked_wide_encoding(first_bytes)
    if not encoding or encoding == "utf-8":
        return b""
    text = first_bytes[len(mark) :].decode(encoding, "ignore")
    return b"" if "\0" in text else text.encode()


def _of_text(first_bytes: bytes) -> str:
    found = _magic().from_buffer(first_bytes[:TEXT_BYTES])
    if not found.startswith("text/") or not first_bytes.removeprefix(UTF8_BOM).lstrip().startswith(b"<"):
        return found
    markup = _MARKUP.search(first_bytes)
    if markup:
        return "image/svg+xml" if markup[1].lower() == b"svg" else "text/html"
    return "text/xml" if found == "text/plain" else found


def _of_zip(first_bytes: bytes, found: str) -> str:
    """By the members that begin in what we have, in whatever order: to libmagic a folder `word` is an office."""
    members = dict(_members(first_bytes))
    said = members.get("mimetype", b"").decode("ascii", "ignore").strip()
    if is_kind_of(said, ZIP):
        return said
    for folder, kind in OFFICE_FOLDERS.items():
        if not OFFICE_PARTS.isdisjoint(members) and any(name.startswith(folder) for name in members):
            return kind
    kind = next((kind for name, kind in ZIP_MEMBERS.items() if name in members), ZIP)
    return found if kind == ZIP and found not in _UNKNOWN and not found.startswith(_OFFICE) else kind


def _members(first_bytes: bytes) -> Iterator[tuple[str, bytes]]:
    """The name of each member and, where it is stored as it is, what it holds."""
    at = 0
    while 0 <= at <= len(first_bytes) - _MEMBER.size:
        signature, flags, method, size, name_length, extra_length = _MEMBER.unpack_from(first_bytes, at)
        if signature != b"PK\x03\x04":
            break
        start = at + _MEMBER.size + name_length + extra_length
        name = first_bytes[at + _MEMBER.size :][:name_length].decode("utf-8", "replace")
        yield name, b"" if method else first_bytes[start : start + size]
        at = first_bytes.find(b"PK\x03\x04", start) if flags & _SIZE_COMES_LATER and not size else start + size


def _of_ole(first_bytes: bytes) -> str:
    """By the streams that its directory names, as far as that lies in what we have."""
    found = (kind for stream, kind in OLE_STREAMS.items() if stream.encode("utf-16-le") + b"\0\0" in first_bytes)
    return next(found, OLE)


@functools.cache
def _magic() -> magic.Magic:
    return magic.Magic(mime=True)
