"""Imported objects with a Content-Encoding: files contain the stored bytes everywhere."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from tests.conftest import own
from tests.ops.test_manifest import empty_database, exported, rebuild
from tests.support import two_stores
from tests.support.commands import check_output
from tests.support.factories import binary_content
from tests.support.stores import Bucket
from tests.support.two_stores import PART, TwoStores, second_bucket
from tests.support.upload_client import web
from tests.support.verification import verify_file
from tests.zips.test_downloads import close_response
from uploads import s3, services
from uploads.content_headers import MAX_ENCODING_CHARACTERS, normalize_encoding, stored_name
from uploads.errors import StorageUnavailable
from uploads.models import Category, ChecksumStatus, File, Preview, new_key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

TEXT = b'{"day": 1}\n' * 300
STORED = {
    "gzip": ("a.json", gzip.compress(TEXT), "a.json.gz", "application/gzip"),
    "GZIP": ("access.log.gz", gzip.compress(TEXT), "access.log.gz", "application/gzip"),
    "deflate": ("b.json", zlib.compress(TEXT), "b.json.zz", "application/zlib"),
    "br": ("c.css", brotli.compress(TEXT), "c.css.br", "application/octet-stream"),
    "zstd": ("d.txt", b"\x28\xb5\x2f\xfd no more", "d.txt.zst", "application/zstd"),
    "gzip, gzip": ("e.txt", gzip.compress(gzip.compress(TEXT)), "e.txt.gz.gz", "application/gzip"),
    "compress": ("f.txt", b"\x1f\x9d\x90", "f.txt.Z", "application/octet-stream"),
    "x-none": ("g.txt", b"of no known kind", "g.txt", "application/octet-stream"),
}


def put(bucket: Bucket, key: str, body: bytes, encoding: str) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body, ContentEncoding=encoding)


@pytest.fixture(params=["local", "digests"])
def there(request: pytest.FixtureRequest, alice: User) -> Bucket:
    """Foreign objects that are imported but not verified."""
    bucket: Bucket = request.getfixturevalue("bucket" if request.param == "local" else "digest_bucket")
    for encoding, (name, body, _stored, _type) in STORED.items():
        put(bucket, f"site/{name}", body, encoding)
    bucket.write("site/plain.txt", b"plain words")
    check_output("import_bucket", "site/", "--owner", "alice", "--apply")
    return bucket


def named(name: str) -> File:
    return File.objects.get(name=name)


def downloaded(client: Client, file: File, **query: str) -> Any:
    return web.request("GET", client.get(f"/files/{file.pk}/download", query)["Location"])


# --- pages and downloads ----------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("read", [False, True])
def test_download_has_the_stored_bytes_and_a_matching_extension(
    there: Bucket, as_alice: Client, read: bool, inline: bool
) -> None:
    if read:
        check_output("verify", "--all")
    for name, body, stored, media_type in STORED.values():
        response = downloaded(as_alice, named(name), **({"inline": "1"} if inline else {}))
        assert (response.data, response.headers["Content-Encoding"]) == (body, "identity")
        assert response.headers["Content-Type"] == media_type
        assert response.headers["Content-Disposition"] == f'attachment; filename="{stored}"'
    assert named("a.json").content_encoding == "gzip"


def test_a_zip_has_the_stored_bytes_under_the_same_names(there: Bucket, as_alice: Client) -> None:
    response = as_alice.post("/files/zip", {"file": [str(file.pk) for file in File.objects.all()]})
    body = b"".join(response.streaming_content)  # type: ignore[attr-defined]
    assert len(body) == int(response.headers["Content-Length"])
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "SHA256SUMS"}
    contents = {stored: body for _name, body, stored, _type in STORED.values()}
    assert {name.rpartition("/")[2]: body for name, body in members.items()} == contents | {"plain.txt": b"plain words"}


def test_file_page_shows_the_stored_encoding(there: Bucket, as_alice: Client) -> None:
    page = as_alice.get(f"/files/{named('a.json').pk}/").content.decode()
    assert "stored compressed (gzip), downloads as <bdi>a.json.gz</bdi>" in page
    assert f"{len(STORED['gzip'][1])} bytes" in page
    assert "stored compressed" not in as_alice.get(f"/files/{named('plain.txt').pk}/").content.decode()


def test_encoding_is_requested_once(there: Bucket, as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    file, plain = named("a.json"), named("plain.txt")
    for item in (file, plain):
        as_alice.get(f"/files/{item.pk}/")
    monkeypatch.setattr(s3, "head", lambda *_, **__: pytest.fail("requested again"))
    for item in (file, plain):
        assert as_alice.get(f"/files/{item.pk}/download").status_code == 302
    bundle = as_alice.post("/files/zip", {"file": [str(file.pk), str(plain.pk)]})
    assert bundle.status_code == 200
    close_response(bundle)


def fail(fault: Exception) -> Any:
    def failing(*_: object, **__: object) -> None:
        raise fault

    return failing


def test_page_during_an_outage_shows_the_rest(there: Bucket, as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "head", fail(StorageUnavailable()))
    file = named("a.json")
    assert as_alice.get(f"/files/{file.pk}/").status_code == 200
    assert as_alice.get(f"/files/{file.pk}/download").status_code == 302
    file.refresh_from_db()
    assert file.content_encoding is None


def test_encoding_is_used_if_the_database_cannot_save_it(
    there: Bucket, as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(File.objects, "filter", fail(OperationalError()))
    file = File.objects.get(name="a.json")
    services.fetch_encoding(file)
    assert file.stored_name == "a.json.gz"


# --- commands -------------------------------------------------------------------------


def test_verify_reads_every_object_as_it_is_stored_and_fsck_agrees(there: Bucket) -> None:
    assert "failed: 0\n" in check_output("verify", "--all")
    for encoding, (name, _body, _stored, _type) in STORED.items():
        file = named(name)
        assert (file.checksum_status, file.content_encoding) == (ChecksumStatus.VERIFIED, encoding.lower())
        assert file.category == Category.ARCHIVE
    assert (named("plain.txt").content_encoding, named("plain.txt").category) == ("", Category.TEXT)
    check_output("verify", "--all")
    check_output("fsck", "--min-age", "0")


def test_compressed_files_get_no_preview(there: Bucket, as_alice: Client) -> None:
    for file in File.objects.all():
        services.make_previews(file)
    assert list(Preview.objects.values_list("file__name", flat=True)) == ["plain.txt"]
    assert "Creating a preview" not in as_alice.get(f"/files/{named('a.json').pk}/").content.decode()


def test_a_manifest_keeps_the_encoding(bucket: Bucket, alice: User, tmp_path: Path) -> None:
    put(bucket, "site/a.json", gzip.compress(TEXT), "gzip")
    check_output("import_bucket", "site/", "--owner", "alice", "--apply")
    check_output("verify", "--all")
    exported(tmp_path / "manifest")
    empty_database()
    assert rebuild(tmp_path / "manifest", "--apply")[0] == 0
    assert (named("a.json").content_encoding, named("a.json").stored_name) == ("gzip", "a.json.gz")


def test_orphan_missing_from_the_manifest_is_recovered_with_its_encoding(
    bucket: Bucket, alice: User, tmp_path: Path
) -> None:
    key = new_key()
    exported(tmp_path / "manifest")
    put(bucket, key, gzip.compress(TEXT), "gzip")
    empty_database()
    code, summary, reason = rebuild(tmp_path / "manifest", "--apply", "--recover-orphans", "--owner", "alice")
    assert (code, summary.get("unknown")) == (1, 1), reason
    file = File.objects.get(key=key)
    assert (file.content_encoding, file.category) == ("gzip", Category.ARCHIVE)


@pytest.fixture(params=["one endpoint", "to digests", "digests, one endpoint"])
def two(
    request: pytest.FixtureRequest, bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TwoStores]:
    digests = own(request.getfixturevalue("digest_store")) if "digests" in request.param else bucket
    second = digests if request.param == "to digests" else second_bucket(digests.address)
    first = bucket if request.param != "digests, one endpoint" else digests
    with two_stores.two_stores(first, second, settings, monkeypatch) as stores:
        yield stores


@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize("body", [gzip.compress(TEXT), binary_content(PART + 7)], ids=["whole", "in parts"])
def test_a_move_keeps_the_encoding_and_the_stored_bytes(
    alice: User, as_alice: Client, two: TwoStores, body: bytes, read: bool
) -> None:
    file = two_stores.imported(alice, two.first, "site/a.json", body, name="a.json")
    put(two.first, file.key, body, "gzip")
    file.refresh_from_db()
    if read:
        assert verify_file(file) is ChecksumStatus.VERIFIED
    two.swap()
    assert two_stores.run_move_store("--apply")[0] == 0
    two.alone()
    file.refresh_from_db()
    assert (file.store, file.content_encoding) == ("new", "gzip")
    there = two.second.client.head_object(Bucket=two.second.name, Key=file.key)
    assert (there["ContentEncoding"], there["ContentLength"]) == ("gzip", len(body))
    assert verify_file(file) is ChecksumStatus.VERIFIED
    assert downloaded(as_alice, file).data == body


# --- names and headers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", ""), ("gzip", "gzip"), (" GZip , Br ", "gzip, br"), ("aws-chunked", ""), ("aws-chunked,gzip", "gzip"),
        ("identity", ""), ("gzip, identity,", "gzip"), ("utf-8\0\né", "utf-8"),
        ("x" * 300, "x" * MAX_ENCODING_CHARACTERS),
    ],
)  # fmt: skip
def test_content_encoding_header_is_normalized(header: str, encoding: str) -> None:
    assert normalize_encoding(header) == encoding


@pytest.mark.parametrize(
    ("name", "encoding", "stored"),
    [
        ("a.txt", None, "a.txt"), ("a.txt", "", "a.txt"), ("a.txt", "x-gzip", "a.txt.gz"), ("A.GZ", "gzip", "A.GZ"),
        ("a.tgz", "gzip", "a.tgz"), ("a.svgz", "gzip", "a.svgz"), ("a.gz", "gzip, gzip", "a.gz.gz"),
        ("a.gz", "br", "a.gz.br"), ("a", "zstd", "a.zst"), ("a.z", "compress", "a.z"), ("a", "nonsense", "a"),
    ],
)  # fmt: skip
def test_stored_name_has_the_extension_of_the_encoding(name: str, encoding: str | None, stored: str) -> None:
    assert stored_name(name, encoding) == stored
