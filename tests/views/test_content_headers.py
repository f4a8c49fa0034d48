"""Headers of downloads: type, disposition, expiry, and no active content inline."""

from __future__ import annotations

import re
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import urllib3
from django.conf import settings as live
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.conftest import signed_in
from tests.support import factories
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import content_headers
from uploads.models import Action, Event, File, Visibility

pytestmark = pytest.mark.django_db

OCTET_STREAM = "application/octet-stream"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xff\xff?\x00\x05\xfe\x02\xfe\xdc\xccY\xe7\x00\x00\x00\x00IEND\xaeB`\x82"
)
# active content, under any name
HOSTILE = {
    "page.html": b"<!doctype html><html><script>alert(1)</script></html>",
    "bare.html": b"<script>alert(1)</script>",
    "page.xhtml": b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></html>',
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "commented.svg": b'<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
    "late.svg": b"<?xml version='1.0'?><!--" + b" " * 3000 + b"--><svg xmlns='http://www.w3.org/2000/svg'/>",
    "marked.svg": b'\xef\xbb\xbf<svg xmlns="http://www.w3.org/2000/svg"/>',
    "data.xml": b'<?xml version="1.0"?><?xml-stylesheet href="x.xsl" type="text/xsl"?><a/>',
    "formula.mathml": b'<math xmlns="http://www.w3.org/1998/Math/MathML"><mi>x</mi></math>',
    "code.js": b"function a() { return 1 }\nalert(1)\n",
    "movie.swf": b"FWS\x09" + b"\x00" * 60,
    "archive.mht": b"MIME-Version: 1.0\r\nContent-Type: multipart/related\r\n\r\n<html>",
    "sheet.xsl": b'<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0"/>',
    "wide.html": "<html><script>alert(1)</script></html>".encode("utf-16"),
    "unknown.bin": bytes(range(256)) * 20,
    "empty.png": b"",
}
SHOWN = {
    "photo.png": (PNG, "image/png"),
    "photo.gif": (b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01", "image/gif"),
    "photo.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00", "image/jpeg"),
    "plan.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "application/pdf"),
    "notes.txt": (b"Just some words, nothing else.\n", "text/plain; charset=utf-8"),
}


def fetch(client: Client, file: File, *, inline: bool) -> urllib3.BaseHTTPResponse:
    """Return the response of the storage at the presigned URL of the redirect."""
    url = reverse("download", args=[file.pk]) + ("?inline=1" if inline else "")
    response = client.get(url)
    assert response.status_code == 302, response.content
    return urllib3.request("GET", response.headers["Location"], redirect=False)


@pytest.mark.parametrize("claimed", ["image/png", "text/plain", "text/html", ""])
@pytest.mark.parametrize("name", HOSTILE)
def test_active_content_is_always_an_attachment(name: str, claimed: str, as_alice: Client, bucket: Bucket) -> None:
    file = UploadClient(as_alice).send(HOSTILE[name], name=name, type=claimed)
    response = fetch(as_alice, file, inline=True)
    assert response.headers["Content-Type"] == OCTET_STREAM
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.data == HOSTILE[name]


@pytest.mark.parametrize("name", ["photo.png", "x.png.png", "drawing.svg.png"])
@pytest.mark.parametrize("body", ["page.html", "drawing.svg", "late.svg", "data.xml", "code.js", "archive.mht"])
def test_name_and_declared_type_do_not_make_an_image(name: str, body: str, as_alice: Client, bucket: Bucket) -> None:
    file = UploadClient(as_alice).send(HOSTILE[body], name=name, type="image/png")
    response = fetch(as_alice, file, inline=True)
    assert "image" not in response.headers["Content-Type"]
    assert file.declared_type == "image/png"
    assert file.detected_type != "image/png"


@pytest.mark.parametrize("name", SHOWN)
def test_passive_content_can_open_in_the_browser(name: str, as_alice: Client, bucket: Bucket) -> None:
    body, shown_as = SHOWN[name]
    file = UploadClient(as_alice).send(body, name=name, type="text/html")
    response = fetch(as_alice, file, inline=True)
    assert response.headers["Content-Type"] == shown_as
    assert response.headers["Content-Disposition"].startswith("inline")
    assert response.data == body


@pytest.mark.parametrize("name", SHOWN)
def test_download_is_always_an_attachment(name: str, as_alice: Client, bucket: Bucket) -> None:
    response = fetch(as_alice, UploadClient(as_alice).send(SHOWN[name][0], name=name), inline=False)
    assert response.headers["Content-Type"] == OCTET_STREAM
    assert response.headers["Content-Disposition"].startswith("attachment")


def test_image_declared_as_html_is_served_as_an_image(as_alice: Client, bucket: Bucket) -> None:
    response = fetch(as_alice, UploadClient(as_alice).send(PNG, name="x.html", type="text/html"), inline=True)
    assert response.headers["Content-Type"] == "image/png"


def test_inline_types_contain_no_active_content() -> None:
    for word in ("html", "svg", "xml", "script", "flash", "octet", "x-sh", "rtf", "mht"):
        assert not any(word in kind for kind in content_headers.INLINE)


@pytest.mark.parametrize("name", ["a.js", "a.HTML", "a.svg", "a.xml", "a.xhtml"])
def test_text_with_a_script_extension_is_an_attachment(name: str, alice: User) -> None:
    file = File(owner=alice, name=name, detected_type="text/plain")
    assert content_headers.download_headers(file, inline=True)[0] == OCTET_STREAM


def test_declared_type_alone_is_never_inline(alice: User) -> None:
    file = File(owner=alice, name="a.png", declared_type="image/png", detected_type="")
    assert content_headers.download_headers(file, inline=True)[0] == OCTET_STREAM


def test_download_redirect_is_private_and_short_lived(alice: User, as_alice: Client) -> None:
    response = as_alice.get(reverse("download", args=[factories.create_file(alice).pk]))
    assert response.status_code == 302
    assert set(response.headers["Cache-Control"].split(", ")) == {"private", "no-store"}
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert int(query["X-Amz-Expires"][0]) <= 300
    assert query["response-cache-control"] == ["private, no-store"]


def test_redirect_of_long_name_fits_into_4_kib(alice: User, as_alice: Client) -> None:
    """nginx buffers 4 KiB of response headers by default. A session token in the URL leaves less room."""
    file = factories.create_file(alice, name="報" * 180 + ".pdf")
    response = as_alice.get(reverse("download", args=[file.pk]))
    head = sum(len(f"{name}: {value}\r\n") for name, value in response.headers.items())
    assert response.headers["Location"].count("%25E5%25A0%25B1") == 180
    assert head < 4096 - 300  # status line, Date, Server, Connection


# --- HEAD: link checkers and download managers ------------------------------------------------


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("query", ["", "?inline=1"])
def test_head_of_download_has_the_headers_of_get(query: str, name: str, as_alice: Client, bucket: Bucket) -> None:
    file = UploadClient(as_alice).send(SHOWN[name][0], name=name)
    response = fetch(as_alice, file, inline=bool(query))
    head = as_alice.head(reverse("download", args=[file.pk]) + query)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(SHOWN[name][0])))
    for header in ("Content-Type", "Content-Disposition", "Cache-Control"):
        assert head.headers[header] == response.headers[header]


def test_head_of_download_records_no_download(alice: User, as_alice: Client) -> None:
    file = factories.create_file(alice)
    as_alice.head(reverse("download", args=[file.pk]))
    assert not Event.objects.filter(action=Action.DOWNLOAD).exists()


def test_head_of_file_that_is_hidden_is_not_found(alice: User, as_bob: Client) -> None:
    file = factories.create_file(alice, visibility=Visibility.PRIVATE)
    assert as_bob.head(reverse("download", args=[file.pk])).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_head_of_download_sends_no_body_over_the_wire(alice: User, site: str) -> None:
    file = factories.create_file(alice, b"7 bytes")
    cookie = f"{live.SESSION_COOKIE_NAME}={signed_in(alice).session.session_key}"
    url = site + reverse("download", args=[file.pk])
    for _ in range(2):  # on one connection: a body would precede the second response
        head = urllib3.request("HEAD", url, headers={"Cookie": cookie}, redirect=False)
        assert (head.status, head.headers["Content-Length"], head.data) == (200, "7", b"")


def test_storage_sends_the_cache_header_of_the_url(as_alice: Client, bucket: Bucket) -> None:
    response = fetch(as_alice, UploadClient(as_alice).send(b"hello"), inline=False)
    assert response.headers["Cache-Control"] == "private, no-store"


def test_tampered_presigned_url_is_rejected(as_alice: Client, bucket: Bucket) -> None:
    file = UploadClient(as_alice).send(HOSTILE["page.html"], name="page.html")
    other = UploadClient(as_alice).send(b"other")
    url = as_alice.get(reverse("download", args=[file.pk])).headers["Location"]
    bent = [
        url.replace("attachment", "inline"),
        url.replace("application%2Foctet-stream", "text%2Fhtml"),
        url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
        url.replace(file.key, other.key),
        url.split("?")[0],
    ]
    assert all(changed_url != url for changed_url in bent)
    assert {urllib3.request("GET", changed_url).status for changed_url in bent} <= {400, 403}


def test_permission_is_checked_every_time(alice: User, as_bob: Client) -> None:
    file = factories.create_file(alice)
    url = reverse("download", args=[file.pk])
    assert as_bob.get(url).status_code == 302
    File.objects.update(visibility=Visibility.PRIVATE)
    assert as_bob.get(url).status_code == 404


def test_empty_file_downloads_as_empty(as_alice: Client, bucket: Bucket) -> None:
    response = fetch(as_alice, UploadClient(as_alice).send(b""), inline=False)
    assert (response.status, response.data) == (200, b"")


# --- names in headers -------------------------------------------------------------------------

NAMES = {
    'quo"te.txt': 'quo"te.txt',
    "semi;colon=x.txt": "semi;colon=x.txt",
    "line\r\nSet-Cookie: a=b.txt": "lineSet-Cookie: a=b.txt",
    "back\\slash.txt": "back_slash.txt",
    "../../etc/passwd": "passwd",
    "/abs/path.txt": "path.txt",
    "C:\\fakepath\\a.txt": "a.txt",
    "\u202egpj.exe": "gpj.exe",
    "per%20cent%22%0d%0a.txt": "per%20cent%22%0d%0a.txt",
    "שלום.txt": "שלום.txt",
    "ملف.pdf": "ملف.pdf",
    "Übergröße é.txt": "Übergröße é.txt",
    "📷 photo.png": "📷 photo.png",
    "x" * 300 + ".txt": "x" * 251 + ".txt",
    "é" * 300 + ".txt": "é" * 251 + ".txt",
    "'single' (and) [brackets] *.txt": "'single' (and) [brackets] *.txt",
    " leading and trailing .txt ": "leading and trailing .txt",
    "...": "unnamed",
}


def by_rfc6266(header: str) -> str:
    """The name as a browser reads it: `filename*` before `filename`, its value unescaped."""
    extended = re.search(r"filename\*=utf-8''([^;]*)", header, re.IGNORECASE)
    if extended:
        return unquote(extended[1])
    quoted = re.search(r'filename="((?:[^"\\]|\\.)*)"', header)
    assert quoted, header
    return re.sub(r"\\(.)", r"\1", quoted[1])


def by_the_standard_library(header: str) -> str:
    """The standard library returns `filename*` last."""
    message = Message()
    message["Content-Disposition"] = header
    return collapse_rfc2231_value(message.get_params([], "content-disposition")[-1][1])


@pytest.mark.parametrize("name", NAMES)
def test_hostile_name_is_safe_in_content_disposition(name: str, as_alice: Client, bucket: Bucket) -> None:
    file = UploadClient(as_alice).send(b"hello", name=name)
    header = fetch(as_alice, file, inline=False).headers["Content-Disposition"]
    assert header.isascii()
    assert header.isprintable()
    assert by_rfc6266(header) == file.name == NAMES[name]
    assert by_the_standard_library(header) == file.name


def test_unclean_stored_name_is_cleaned_in_the_header(alice: User, as_alice: Client, bucket: Bucket) -> None:
    file = factories.create_file(alice, bucket=bucket, name="../\u202ea\r\nb.txt")
    header = fetch(as_alice, file, inline=False).headers["Content-Disposition"]
    assert by_rfc6266(header) == "ab.txt"


def test_pages_contain_no_presigned_url(alice: User, as_alice: Client, as_admin: Client) -> None:
    file = factories.create_file(alice, detected_type="image/png")
    pages: list[Any] = [as_alice.get(url) for url in ("/", file.get_absolute_url(), "/trash/", "/upload/")]
    pages += [as_admin.get(url) for url in ("/admin/uploads/file/", f"/admin/uploads/file/{file.pk}/change/")]
    for page in pages:
        assert page.status_code == 200
        assert b"X-Amz" not in page.content
