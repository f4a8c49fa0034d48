"""Detection of types by the first bytes, and the categories of types."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from uploads.media_types import KINDS, canonical, category_of, containers_of
from uploads.previews import PICTURES
from uploads.services.mime import detect_type

FIRST_BYTES = 8192
OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX, XLSX = f"{OFFICE}wordprocessingml.document", f"{OFFICE}spreadsheetml.sheet"
PPTX = f"{OFFICE}presentationml.presentation"
ODT = "application/vnd.oasis.opendocument.text"


class Pipe(io.RawIOBase):
    """A stream that cannot seek, so that a zip has the sizes of its members after them."""

    def __init__(self) -> None:
        self.body = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.body += bytes(data)
        return len(data)


def zipped(*names: str, stored: dict[str, bytes] | None = None, stream: bool = False) -> bytes:
    out: io.BytesIO | Pipe = Pipe() if stream else io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in (stored or {}).items():
            archive.writestr(zipfile.ZipInfo(name), body)
        for name in names:
            archive.writestr(name, b"some words " * 20)
    return out.body if isinstance(out, Pipe) else out.getvalue()


def old_office(stream: str, *, at: int = 4608) -> bytes:
    """Return an OLE file whose directory, at this offset, names this stream."""
    body = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6))
    return (
        bytes(body.ljust(at, b"\0"))
        + "Root Entry".encode("utf-16-le").ljust(128, b"\0")
        + stream.encode("utf-16-le").ljust(128, b"\0")
        + bytes(4096)
    )


ZIPS = {
    "zip": (zipped("a.txt"), "application/zip"),
    "empty zip": (zipped(), "application/zip"),
    "stored zip": (zipped(stored={"a.txt": b"words"}), "application/zip"),
    "streamed zip": (zipped("a.txt", "b.txt", stream=True), "application/zip"),
    "comic": (zipped("001.jpg", "002.jpg"), "application/zip"),
    "zip with a folder word": (zipped("word/notes.txt", "a.txt"), "application/zip"),
    "zip with a document in it": (
        zipped(stored={"a.docx": zipped("word/a.xml", "_rels/.rels")}),
        "application/zip",
    ),
    "zip that calls itself a pdf": (zipped(stored={"mimetype": b"application/pdf"}), "application/zip"),
    "docx": (zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"), DOCX),
    "docx in another order": (zipped("word/document.xml", "docProps/app.xml", "[Content_Types].xml"), DOCX),
    "streamed docx": (zipped("docProps/app.xml", "_rels/.rels", "word/document.xml", stream=True), DOCX),
    "xlsx": (zipped("_rels/.rels", "xl/workbook.xml", "[Content_Types].xml"), XLSX),
    "pptx": (zipped("docProps/thumbnail.jpeg", "_rels/.rels", "ppt/presentation.xml"), PPTX),
    "odt": (zipped("content.xml", stored={"mimetype": ODT.encode()}), ODT),
    "epub": (zipped("META-INF/container.xml", stored={"mimetype": b"application/epub+zip"}), "application/epub+zip"),
    "epub in another order": (zipped("META-INF/container.xml", "a.opf"), "application/epub+zip"),
    "jar": (zipped("META-INF/MANIFEST.MF", "a/B.class"), "application/java-archive"),
    "apk": (zipped("classes.dex", "AndroidManifest.xml"), "application/vnd.android.package-archive"),
}


@pytest.mark.parametrize("what", ZIPS)
def test_zip_type_is_detected_by_its_members(what: str) -> None:
    body, kind = ZIPS[what]
    assert detect_type(body[:FIRST_BYTES]) == kind
    assert category_of(kind) == ("archive" if kind in {"application/zip", *ARCHIVES_OF_ZIPS} else "document")


ARCHIVES_OF_ZIPS = {"application/java-archive", "application/vnd.android.package-archive"}


@pytest.mark.parametrize(
    ("declared", "name", "kind"),
    [(DOCX, "a.docx", DOCX), ("", "a.docx", DOCX), ("application/octet-stream", "a.odt", ODT),
     ("application/java-archive", "a.jar", "application/java-archive"), ("", "a.cbz", "application/vnd.comicbook+zip"),
     ("", "a.xpi", "application/x-xpinstall"), ("application/x-zip-compressed", "a.zip", "application/zip"),
     ("text/html", "a.html", "application/zip"), ("image/png", "a.png", "application/zip"),
     ("application/msword", "a.doc", "application/zip"), ("application/pdf", "a.pdf", "application/zip")],
)  # fmt: skip
def test_declared_type_is_used_if_it_is_zip_based(declared: str, name: str, kind: str) -> None:
    assert detect_type(zipped("a.bin"), declared=declared, name=name) == kind


@pytest.mark.parametrize(
    ("stream", "kind"),
    [("WordDocument", "application/msword"), ("Workbook", "application/vnd.ms-excel"),
     ("PowerPoint Document", "application/vnd.ms-powerpoint"), ("__nameid_version1.0", "application/vnd.ms-outlook")],
)  # fmt: skip
def test_ole_type_is_detected_by_its_directory(stream: str, kind: str) -> None:
    assert detect_type(old_office(stream)[:FIRST_BYTES]) == kind


@pytest.mark.parametrize(
    ("declared", "name", "kind"),
    [("application/msword", "a.doc", "application/msword"), ("", "a.xls", "application/vnd.ms-excel"),
     ("", "a.msg", "application/vnd.ms-outlook"), ("", "a.msi", "application/x-msi"),
     ("image/png", "a.png", "application/x-ole-storage")],
)  # fmt: skip
def test_declared_type_is_used_if_the_ole_directory_is_too_deep(declared: str, name: str, kind: str) -> None:
    body = old_office("WordDocument", at=20_000)[:FIRST_BYTES]
    assert detect_type(body, declared=declared, name=name) == kind
    assert category_of(kind) == ("other" if kind.endswith("msi") else "document")


LOG = "2024-01-01 00:00:00 INFO started\r\n" * 40
TEXTS = {
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n",
    "web subtitles": b"WEBVTT\n\n00:01.000 --> 00:02.000\nhi\n",
    "advanced subtitles": b"[Script Info]\nTitle: x\nScriptType: v4.00+\n",
    "mail": b"From: a@b.c\r\nTo: d@e.f\r\nSubject: hi\r\nMIME-Version: 1.0\r\n\r\nhello\r\n",
    "received mail": b"Return-Path: <a@b.c>\r\nReceived: from x by y\r\nFrom: a@b.c\r\n\r\nhello\r\n",
    "mailbox": b"From a@b.c Mon Jan  1 00:00:00 2024\nFrom: a@b.c\n\nhi\n",
    "json lines": b'{"a": 1}\n{"a": 2}\n{"a": 3}\n',
    "json": b'{"a": [1, 2]}',
    "certificate": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "table": b"a,b,c\n" + b"1,2,3\n" * 12,
    "markdown": b"# Title\n\nwords *x*\n",
    "python": b"#!/usr/bin/env python3\nimport os\n",
    "settings": b"[main]\na=1\n",
    "yaml": b"---\na: 1\n",
    "driver": b'[Version]\r\nSignature="$Windows NT$"\r\n',
    "playlist": b"#EXTM3U\n#EXTINF:1\n",
    "log in UTF-16": LOG.encode("utf-16"),
    "log in UTF-16 without a mark": LOG.encode("utf-16-le"),
    "log in big UTF-16": LOG.encode("utf-16-be"),
    "text in UTF-32": "Привет\n".encode("utf-32"),
    "old text": b"words\r\n\x1a",
    "manual page": b"NAME\n a\x08ab\x08b\n",
    "Russian": "Привет, мир\n".encode("cp1251"),
    "Chinese": "这是一个测试文件。\n".encode("gbk"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_text_formats_have_the_text_category(what: str) -> None:
    assert category_of(detect_type(TEXTS[what])) == "text"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_html_and_svg_are_detected_in_every_encoding(encoding: str) -> None:
    assert detect_type("<p>x</p><script>alert(1)</script>\n".encode(encoding)) == "text/html"
    assert detect_type('<svg xmlns="x"/>\n'.encode(encoding)) == "image/svg+xml"


@pytest.mark.parametrize(
    "body", [bytes(range(255, -1, -1)) * 9, b"words\0" * 99, bytes(999), b"\xff\xfe\0\0" + b"\xff" * 99], ids=range(4)
)
def test_unknown_binary_data_has_no_type(body: bytes) -> None:
    assert detect_type(body) == ""


@pytest.mark.parametrize(
    ("body", "kind"),
    [(bytes.fromhex("fff15080") + b"\x1f\xfc" + bytes(500), "audio/aac"),
     (bytes.fromhex("fff95080") + b"\x1f\xfc" + bytes(500), "audio/aac"),
     (b"MSCF" + bytes(60), "application/vnd.ms-cab-compressed")],
)  # fmt: skip
def test_detected_types_use_common_names(body: bytes, kind: str) -> None:
    assert detect_type(body) == kind


FAMILIES = {
    "archive": "zip x-zip-compressed x-zip gzip x-gzip x-7z-compressed x-rar x-rar-compressed vnd.rar x-tar x-gtar "
    "x-compressed-tar x-xz x-lzma x-lz4 x-lzip x-lzop zstd x-zstd x-bzip2 x-bzip x-compress x-cpio x-iso9660-image "
    "x-apple-diskimage java-archive vnd.android.package-archive x-xpinstall vnd.comicbook+zip vnd.comicbook-rar x-cbr "
    "vnd.ms-cab-compressed x-rpm x-debian-package vnd.debian.binary-package x-archive x-stuffit x-xar",
    "document": "msword vnd.ms-excel vnd.ms-powerpoint vnd.ms-outlook vnd.ms-project vnd.visio x-ole-storage CDFV2 rtf "
    "vnd.ms-excel.sheet.macroEnabled.12 vnd.oasis.opendocument.text epub+zip vnd.apple.keynote postscript "
    "vnd.openxmlformats-officedocument.wordprocessingml.document x-mobipocket-ebook vnd.sun.xml.writer",
    "text": "json geo+json ld+json x-ndjson jsonl xml rss+xml xhtml+xml javascript x-subrip x-pem-file x-sh sql toml "
    "x-shellscript yaml x-yaml x-httpd-php x-perl x-tex mbox pgp-signature x-setupscript vnd.apple.mpegurl",
    "other": "octet-stream x-dosexec x-msdownload wasm x-bittorrent x-sqlite3 vnd.ms-fontobject font-woff x-msi",
    "pdf": "pdf x-pdf",
}


@pytest.mark.parametrize("category", FAMILIES)
def test_application_types_have_the_right_category(category: str) -> None:
    assert {kind: category_of(f"application/{kind}") for kind in FAMILIES[category].split()} == dict.fromkeys(
        FAMILIES[category].split(), category
    )


def test_other_types_have_the_right_category() -> None:
    kinds = {"message/rfc822": "text", "text/rtf": "document", "audio/x-mpegurl": "text", "image/heic": "image",
             "font/woff2": "other", "model/stl": "other", "": "other", "Text/CSV; charset=x": "text"}  # fmt: skip
    assert {kind: category_of(kind) for kind in kinds} == kinds


def test_containers_of_returns_the_container_type_except_for_documents() -> None:
    assert containers_of("application/java-archive") == {"application/zip"}
    assert containers_of("application/x-msi") == {"application/x-ole-storage"}
    assert containers_of("audio/mp4") == {"video/mp4"}
    assert containers_of(DOCX) == containers_of(ODT) == containers_of("application/msword") == set()
    assert canonical("Application/X-Zip-Compressed; a=b") == "application/zip"


def test_raw_photo_types_equal_those_that_previews_decode_as_tiff() -> None:
    """uploads.previews has its own table, because its sandbox process imports nothing else."""
    assert {media_type for media_type, decoder in PICTURES.items() if decoder == "TIFF"} == {
        "image/tiff", *KINDS["image/tiff"],
    }  # fmt: skip
