"""Files in one ZIP download: the right bytes and names with the announced length, or a failed download."""

from __future__ import annotations

import http.client
import io
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import pytest
from django.conf import settings as live_settings
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from tests.conftest import serving, signed_in
from tests.support import factories, storage_proxies
from tests.support.storage_proxies import Request, Response, StorageProxy
from tests.support.stores import Bucket
from tests.support.two_stores import imported
from tests.support.upload_client import composite, cut
from uploads import actions, s3, services
from uploads.errors import StorageUnavailable
from uploads.models import AccessLevel, Action, ChecksumStatus, Event, File, Folder, Visibility
from uploads.s3 import streams
from uploads.services import folders, zips
from uploads.services.zips import prefetch

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
URL = "/files/zip"


def create_file(owner: User, bucket: Bucket, body: bytes, path: str = "report.txt", **facts: Any) -> File:
    """An available file of this path, with its object."""
    folder, _slash, name = path.rpartition("/")
    parent = folders.ensure([folder], by=owner)[folder] if folder else None
    facts = {"part_size": factories.PART, **facts}
    checksum = composite(cut(body, facts["part_size"]))
    return factories.create_file(
        owner, body, bucket=bucket, name=name, folder=parent, **{"checksum": checksum, **facts}
    )


def request_zip(client: Client, *files: File) -> Any:
    return client.post(URL, {"file": [str(file.permanent_id) for file in files]})


def unzip(response: Any) -> dict[str, bytes]:
    """Return the contents of the ZIP after checking its length and CRCs."""
    assert response.status_code == 200, response.content
    body = b"".join(response.streaming_content)
    assert int(response.headers["Content-Length"]) == len(body)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def close_response(response: Any) -> None:
    """Close the sources of the response. Its own `close` would also end the test's database connection."""
    for close in response._resource_closers:
        close()


def contents(response: Any) -> dict[str, bytes]:
    files = unzip(response)
    files.pop("SHA256SUMS")
    return files


def test_zip_contains_the_uploaded_files(alice: User, as_bob: Client, bucket: Bucket) -> None:
    first, two = (
        create_file(alice, bucket, b"one", "a.txt"),
        create_file(alice, bucket, bytes(range(256)) * 5000, "b.bin"),
    )
    empty = create_file(alice, bucket, b"", "empty")
    response = request_zip(as_bob, first, two, empty)
    assert response.headers["Content-Type"] == "application/zip"
    assert response.headers["Content-Disposition"] == 'attachment; filename="files.zip"'
    assert response.headers["Cache-Control"] == "private, no-store"
    assert contents(response) == {"a.txt": b"one", "b.bin": bytes(range(256)) * 5000, "empty": b""}


def test_multipart_files_are_included_unchanged(alice: User, as_bob: Client, bucket: Bucket) -> None:
    bodies = {f"{size}.bin": factories.binary_content(size) for size in (10, 11, 20, 25, 700_001)}
    files = [create_file(alice, bucket, body, name, part_size=10) for name, body in bodies.items()]
    assert contents(request_zip(as_bob, *files)) == bodies


def test_sha256sum_accepts_the_manifest(alice: User, as_bob: Client, bucket: Bucket, tmp_path: Path) -> None:
    names = ["a.txt", "Übergröße é.txt", "with  spaces.txt", "sub/שלום.txt", "sub/'quoted'.txt", "12:30/con.txt"]
    files = [create_file(alice, bucket, name.encode(), f"Top/{name}") for name in names]
    response = request_zip(as_bob, *files)
    (tmp_path / "all.zip").write_bytes(b"".join(response.streaming_content))
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        archive.extractall(tmp_path)
    result = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b": OK") == len(files)


def test_names_are_relative_to_the_common_folder(alice: User, as_bob: Client, bucket: Bucket) -> None:
    paths = ["Brand/Logos/a.png", "Brand/Logos/Old/b.png", "Brand/Fonts/c.ttf"]
    response = request_zip(as_bob, *[create_file(alice, bucket, b"x", path) for path in paths])
    assert response.headers["Content-Disposition"] == 'attachment; filename="Brand.zip"'
    assert set(contents(response)) == {"Logos/a.png", "Logos/Old/b.png", "Fonts/c.ttf"}


def test_name_of_hidden_folder_is_not_in_the_zip(alice: User, bob: User, admin_user: User, bucket: Bucket) -> None:
    files = [create_file(alice, bucket, b"x", "Top/a.txt"), create_file(alice, bucket, b"x", "Top/Secret/Open/b.txt")]
    everyone, few = Group.objects.get(name="uploaders"), Group.objects.create(name="few")
    secret, shown = Folder.objects.get(name="Secret"), Folder.objects.get(name="Open")
    folders.set_access(secret, {few: AccessLevel.MANAGE}, by=admin_user)
    folders.set_access(shown, {everyone: AccessLevel.VIEW, few: AccessLevel.MANAGE}, by=admin_user)
    assert set(contents(request_zip(signed_in(bob), *files))) == {"a.txt", "…/Open/b.txt"}


def test_times_are_those_of_the_files(alice: User, as_bob: Client, bucket: Bucket) -> None:
    moment = datetime(2019, 7, 14, 10, 30, 20, tzinfo=UTC)
    response = request_zip(as_bob, create_file(alice, bucket, b"x", "a.txt", modified=moment))
    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as archive:
        assert archive.getinfo("a.txt").date_time == (2019, 7, 14, 10, 30, 20)


def test_all_files_of_a_list_can_be_downloaded(alice: User, as_bob: Client, bucket: Bucket) -> None:
    for path in ("Brand/a.png", "Brand/sub/b.png", "Brand/notes.txt"):
        create_file(alice, bucket, path.encode(), path)
    folder = Folder.objects.get(name="Brand")
    response = as_bob.post(URL, {"all": "1", "query": "?q=png", "folder": str(folder.pk)})
    assert contents(response) == {"a.png": b"Brand/a.png", "sub/b.png": b"Brand/sub/b.png"}


def test_get_returns_the_zip_and_head_reads_no_file(
    alice: User, as_bob: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = create_file(alice, bucket, b"one")
    query = urlencode({"file": str(file.permanent_id)})
    body = b"".join(as_bob.get(f"{URL}?{query}").streaming_content)  # type: ignore[attr-defined]
    monkeypatch.setattr(streams, "stream", lambda *_, **__: pytest.fail("it was read"))
    head = as_bob.head(f"{URL}?{query}")
    assert head.headers["Content-Length"] == str(len(body))


# --- errors before the download -------------------------------------------------------------


def test_empty_zip_is_an_error_page(as_bob: Client) -> None:
    for response in (as_bob.post(URL), as_bob.get(URL)):
        assert response.status_code == 400
        assert b"No files selected" in response.content


def test_zip_with_hidden_files_is_refused(alice: User, as_bob: Client, as_charlie: Client, bucket: Bucket) -> None:
    visible, private = create_file(alice, bucket, b"x"), create_file(alice, bucket, b"y", visibility=Visibility.PRIVATE)
    trashed = create_file(alice, bucket, b"z")
    actions.trash_file(trashed, by=alice)
    response = request_zip(as_bob, visible, private, trashed)
    assert response.status_code == 404
    assert b"2 of the selected files no longer exist" in response.content
    assert as_bob.post(URL, {"file": [str(visible.pk), str(uuid4())]}).status_code == 404
    assert as_bob.post(URL, {"file": [str(visible.pk), "nonsense"]}).status_code == 400
    assert request_zip(as_charlie, visible).status_code == 404
    assert not Event.objects.filter(action=Action.DOWNLOAD).exists()


def test_zip_with_missing_files_is_rejected_by_name(alice: User, as_bob: Client, bucket: Bucket) -> None:
    present = create_file(alice, bucket, b"x", "kept.txt")
    missing = [
        create_file(alice, bucket, b"x", f"lost{n}.txt", checksum_status=ChecksumStatus.MISSING) for n in range(7)
    ]
    response = request_zip(as_bob, present, missing[0])
    assert response.status_code == 410
    assert "“lost0.txt” is missing from storage" in response.content.decode()
    assert "“lost4.txt”, … are missing from storage" in request_zip(as_bob, present, *missing).content.decode()
    assert not Event.objects.filter(action=Action.DOWNLOAD).exists()
    assert contents(request_zip(as_bob, present)) == {"kept.txt": b"x"}


def test_more_than_ten_thousand_files_are_rejected(as_bob: Client) -> None:
    response = as_bob.post(URL, {"file": [str(uuid4()) for _ in range(10_001)]})
    assert response.status_code == 400


def test_unavailable_storage_is_an_error_page(alice: User, as_bob: Client, bucket: Bucket) -> None:
    file = create_file(alice, bucket, b"x")
    bucket.delete(file.key)
    response = request_zip(as_bob, file)
    assert response.status_code == 503
    assert b"report.txt" in response.content
    other = create_file(alice, bucket, b"x")
    assert contents(request_zip(as_bob, other)) == {"report.txt": b"x"}  # the slot is free again


def test_too_many_concurrent_zips_are_503(alice: User, as_alice: Client, as_bob: Client, bucket: Bucket) -> None:
    file = create_file(alice, bucket, b"x")
    running = [request_zip((as_alice, as_bob)[number % 2], file) for number in range(zips.MAX_CONCURRENT_ZIPS)]
    refused = request_zip(as_bob, file)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    close_response(running.pop())
    running.append(request_zip(as_bob, file))
    assert all(unzip(response) for response in running)
    for response in running:
        close_response(response)
    assert unzip(request_zip(as_bob, file))


def test_zip_records_a_download_of_every_file(alice: User, as_bob: Client, bucket: Bucket) -> None:
    files = [create_file(alice, bucket, b"x", f"{n}.txt") for n in range(3)]
    close_response(request_zip(as_bob, *files))
    events = Event.objects.filter(action=Action.DOWNLOAD).values_list("actor", "file_id", "detail")
    assert {(actor, link) for actor, link, _detail in events} == {("bob", file.permanent_id) for file in files}
    assert {str(detail) for *_who, detail in events} == {"{'zip': True}"}


# --- errors during the download ---------------------------------------------------------------------


def read_until_failure(response: Any) -> bytes:
    """Return the bytes before the connection broke: fewer than announced."""
    received = []
    with pytest.raises(StorageUnavailable):
        received.extend(response.streaming_content)
    close_response(response)
    assert len(b"".join(received)) < int(response.headers["Content-Length"])
    return b"".join(received)


def some_files(owner: User, bucket: Bucket, *, size: int = 300_000) -> list[File]:
    return [create_file(owner, bucket, factories.binary_content(size + n), f"{n}.bin") for n in range(12)]


def test_an_object_that_vanishes_fails_the_download(alice: User, as_bob: Client, bucket: Bucket) -> None:
    files = some_files(alice, bucket)
    bucket.delete(files[9].key)
    assert not zipfile.is_zipfile(io.BytesIO(read_until_failure(request_zip(as_bob, *files))))


@pytest.mark.parametrize("body", [b"other bytes", b"", b"x" * 300_009, b"x" * 400_000])
def test_changed_object_fails_the_download(alice: User, as_bob: Client, bucket: Bucket, body: bytes) -> None:
    files = some_files(alice, bucket)
    bucket.write(files[9].key, body)
    read_until_failure(request_zip(as_bob, *files))


def imported_file(owner: User, bucket: Bucket, body: bytes, name: str) -> File:
    """Return a file as `import_bucket` creates it: not verified, so its checksum is unknown."""
    return imported(owner, bucket, f"photos/{name}", body, name=name, part_size=10)


@pytest.mark.parametrize("size", [0, 10, 35, 300_000])
def test_unverified_file_is_included(alice: User, as_bob: Client, bucket: Bucket, size: int) -> None:
    body = factories.binary_content(size)
    files = [imported_file(alice, bucket, body, "a.bin"), create_file(alice, bucket, b"x", "b.txt")]
    assert contents(request_zip(as_bob, *files)) == {"a.bin": body, "b.txt": b"x"}


@pytest.mark.parametrize("body", [b"y" * 300_000, b"", b"y" * 300_001])
def test_overwritten_unverified_file_fails_the_download(
    alice: User, as_bob: Client, bucket: Bucket, body: bytes
) -> None:
    files = [*some_files(alice, bucket), imported_file(alice, bucket, b"x" * 300_000, "z.bin")]
    bucket.write(files[-1].key, body)
    read_until_failure(request_zip(as_bob, *files))


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads from storage resume without a pause."""
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("fault", ["503", "403", "page 200", "broken"])
def test_storage_error_midway_fails_the_download(
    alice: User, as_bob: Client, bucket: Bucket, storage_proxy: StorageProxy, fault: str
) -> None:
    files = some_files(alice, bucket)

    def fail_ninth_object(request: Request) -> Response | None:
        return request.forward() if files[8].key not in request.url else storage_proxies.FAULTS[fault](request)

    storage_proxy.rules["get"] = fail_ninth_object
    read_until_failure(request_zip(as_bob, *files))


@pytest.mark.usefixtures("no_pauses")
def test_broken_connection_is_resumed(alice: User, as_bob: Client, bucket: Bucket, storage_proxy: StorageProxy) -> None:
    body = factories.binary_content(3_000_000)
    file = create_file(alice, bucket, body, "large.bin")

    def break_twice(request: Request) -> Response | None:
        return storage_proxies.midway(request) if storage_proxy.seen.count("get") < 3 else request.forward()

    storage_proxy.rules["get"] = break_twice
    assert contents(request_zip(as_bob, file)) == {"large.bin": body}
    assert storage_proxy.seen.count("get") == 3


@pytest.mark.django_db(transaction=True)
def test_http_client_detects_a_failed_zip(alice: User, bucket: Bucket, site: str) -> None:
    files = some_files(alice, bucket, size=2_000_000)
    for broken in (False, True):
        if broken:
            bucket.delete(files[-1].key)
        with http_download(signed_in(alice), site, files) as response:
            length = int(response.headers["Content-Length"])
            if not broken:
                assert len(response.read()) == length
                continue
            with pytest.raises(http.client.IncompleteRead):
                response.read()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("damage", ["gone", "changed", "short"])
def test_log_of_a_broken_zip_names_no_file(alice: User, bucket: Bucket, tmp_path: Path, damage: str) -> None:
    files = [create_file(alice, bucket, b"x" * 2_000_000, f"Closed/Dismissal of Doe {n}.txt") for n in range(3)]
    if damage == "gone":
        bucket.delete(files[-1].key)
    else:
        bucket.write(files[-1].key, b"y" * (2_000_000 if damage == "changed" else 5))
    with (
        serving(tmp_path, {}) as site,
        http_download(signed_in(alice), site, files) as response,
        pytest.raises(http.client.IncompleteRead),
    ):
        response.read()
    log = (tmp_path / "web.log").read_text()
    assert "zip_failed files=3 error=ContentChanged" in log
    assert str(files[-1].pk) in log
    assert "DownloadAborted" in log
    assert "Dismissal" not in log
    assert "Closed" not in log


@pytest.mark.django_db(transaction=True)
def test_disconnected_client_releases_its_slot(alice: User, bucket: Bucket, site: str) -> None:
    files = some_files(alice, bucket, size=4_000_000)
    for _ in range(8):
        with http_download(signed_in(alice), site, files) as response:
            assert response.status in {200, 503}
            response.read(1000)
    with http_download(signed_in(alice), site, files) as response:
        assert response.status == 200
        assert len(response.read()) == int(response.headers["Content-Length"])


@contextmanager
def http_download(client: Client, site: str, files: list[File]) -> Iterator[http.client.HTTPResponse]:
    name = live_settings.SESSION_COOKIE_NAME
    query = urlencode([("file", str(file.permanent_id)) for file in files])
    with closing(http.client.HTTPConnection(urlsplit(site).netloc, timeout=30)) as connection:
        cookie = {"Cookie": f"{name}={client.cookies[name].value}"}
        connection.request("GET", f"{reverse('download_zip')}?{query}", headers=cookie)
        with connection.getresponse() as response:
            yield response


# --- memory ---------------------------------------------------------------------------------------


def test_prefetch_is_bounded(alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "CHUNK_BYTES", 1000)
    files = [create_file(alice, bucket, factories.binary_content(20_000), f"{n}.bin") for n in range(20)]
    sizes: list[int] = []
    chunks = s3.Stream.chunks

    def counting_chunks(stream: s3.Stream, size: int) -> Iterator[bytes]:
        for chunk in chunks(stream, size):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(s3.Stream, "chunks", counting_chunks)
    with closing(services.open_zip(services.bundle(alice, [file.pk for file in files]), by=alice)) as download:
        time.sleep(0.5)
        max_chunks = prefetch.MAX_QUEUED_OBJECTS * prefetch.MAX_QUEUED_CHUNKS + prefetch.READER_THREADS
        assert sum(sizes) <= max_chunks * prefetch.CHUNK_BYTES
        assert len(b"".join(download)) > 400_000
