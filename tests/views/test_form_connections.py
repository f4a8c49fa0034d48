"""The plain form with a real gunicorn: broken and oversized bodies, memory, disk, concurrency."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from django.contrib.auth.models import User

from tests.conftest import serving
from tests.support import factories, waiting
from tests.support.factories import is_all_deleted
from tests.support.form_client import Chosen, Form, Visitor, file_head
from tests.support.stores import Bucket
from uploads.models import File, State

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

MIB = 1024**2
PART = 5 * MIB
LARGE = 200 * MIB
SECONDS = 20


@pytest.fixture(scope="module")
def small_parts(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A site with the smallest part size that S3 accepts and a quota of 64 MiB."""
    folder = tmp_path_factory.mktemp("small-parts")
    variables = {"UPLOAD_PART_BYTES": str(PART), "UPLOAD_QUOTA_BYTES": str(64 * MIB), "TMPDIR": str(folder)}
    with serving(folder, variables) as url:
        yield url


wait_until = partial(waiting.wait_until, seconds=SECONDS)


def connect(visitor: Visitor) -> socket.socket:
    connection = socket.create_connection(visitor.address, timeout=SECONDS)
    connection.settimeout(SECONDS)
    return connection


def read_head(connection: socket.socket) -> bytes:
    """Return the head of the response; empty if the server closes the connection without one."""
    received = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in received and (chunk := connection.recv(65536)):
            received += chunk
    return received


def status_of(response: bytes) -> int:
    return int(response.split()[1]) if response else 0


def send_until_refused(connection: socket.socket, *, max_bytes: int) -> int:
    """Send until the server accepts no more, and return the number of bytes sent."""
    sent, chunk = 0, b"x" * 65536
    connection.settimeout(2)
    try:
        while sent < max_bytes:
            sent += connection.send(chunk)
    except OSError:
        pass
    return sent


def post_status(visitor: Visitor, chosen: Chosen) -> int:
    """Return the status code; 0 if the server closed the connection during the body."""
    try:
        return visitor.post(chosen)[0].status
    except OSError:
        return 0


def workers_of(site: str) -> list[psutil.Process]:
    port = str(urlsplit(site).port)
    masters = [p for p in psutil.process_iter(["cmdline"]) if f"127.0.0.1:{port}" in (p.info["cmdline"] or [])]
    return [child for master in masters for child in master.children()]


def memory_of(site: str) -> int:
    return sum(worker.memory_info().rss for worker in workers_of(site))


def open_paths(site: str) -> set[str]:
    """Return the files that workers have open, including deleted ones, without those of installed packages."""
    paths = set()
    for worker in workers_of(site):
        for entry in Path(f"/proc/{worker.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                paths.add(os.readlink(entry))
    return {path for path in paths if path.startswith("/") and not path.startswith(("/dev/", "/proc/", sys.prefix))}


# --- what works -------------------------------------------------------------------------------


def test_files_of_every_size_are_stored(small_parts: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    bodies = {"empty": b"", "small": b"words", "part": os.urandom(PART), "parts": os.urandom(2 * PART + 1)}
    response, page = visitor.post(*(Chosen(name, body) for name, body in bodies.items()))
    assert (response.status, b"4 of 4 stored" in page) == (200, True)
    assert {file.name: bucket.read(file.key) for file in File.objects.available()} == bodies
    assert bucket.multipart_uploads() == []


@pytest.mark.parametrize("size", [5, PART + 1])
def test_form_sent_twice_at_once_creates_one_file(size: int, small_parts: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    submission, chosen = str(uuid.uuid4()), Chosen("a.bin", b"x" * size)
    with ThreadPoolExecutor(2) as pool:
        responses = list(pool.map(lambda _: visitor.post(chosen, submission=submission), range(2)))
    assert {response.status for response, _page in responses} <= {200, 202}
    assert 200 in {response.status for response, _page in responses}
    file = File.objects.get()
    assert (file.state, bucket.objects()) == (State.AVAILABLE, {file.key: size})
    assert bucket.multipart_uploads() == []
    assert factories.stored_usage(alice) == (1, size)


def test_many_forms_at_once_never_exceed_the_quota(small_parts: str, alice: User, bucket: Bucket) -> None:
    """64 MiB are free: of eight files of 12 MiB, five fit, whatever each reserves during upload. More than two of one
    user at once are throttled."""
    visitor = Visitor(small_parts, alice).open_form()
    chosen = Chosen("a.bin", b"x" * 12 * MIB)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: post_status(visitor, chosen), range(8)))
    stored = statuses.count(200)
    assert set(statuses) <= {200, 413, 429, 0}
    assert 1 <= stored <= 5
    assert factories.stored_usage(alice) == (stored, stored * 12 * MIB)
    assert list(bucket.objects().values()) == [12 * MIB] * stored


# --- interrupted bodies --------------------------------------------------------------------


@pytest.mark.parametrize("sent", [10, 100_000, 3 * PART], ids=["in a field", "in a small file", "between parts"])
@pytest.mark.parametrize("polite", [True, False], ids=["closed", "reset"])
def test_interrupted_body_stores_nothing(
    sent: int, polite: bool, small_parts: str, alice: User, bucket: Bucket
) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    body = Form([Chosen("a.bin", b"x" * 4 * PART)], token=visitor.token).body()
    with connect(visitor) as connection:
        connection.sendall(visitor.request_head("/upload/", length=len(body)) + body[:sent])
        if polite:
            connection.shutdown(socket.SHUT_WR)
            assert status_of(read_head(connection)) in {400, 0}
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until(lambda: is_all_deleted(bucket, alice))


def test_body_without_final_boundary_is_refused(small_parts: str, alice: User, bucket: Bucket) -> None:
    """The body has its full length but no final boundary, so the file may be incomplete."""
    visitor = Visitor(small_parts, alice).open_form()
    body = Form([], token=visitor.token).head() + file_head("a.bin") + b"x" * 1000
    with connect(visitor) as connection:
        connection.sendall(visitor.request_head("/upload/", length=len(body)) + body)
        code = status_of(read_head(connection))
    assert code == 400
    wait_until(lambda: is_all_deleted(bucket, alice))


def test_request_after_interrupted_ones_is_served(small_parts: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    for _ in range(20):
        with connect(visitor) as connection:
            connection.sendall(visitor.request_head("/upload/", length=10 * MIB) + b"x" * 1000)
    # interrupted requests hold the user's slots for a moment
    wait_until(lambda: post_status(visitor, Chosen("a.txt")) != 429)
    assert visitor.post(Chosen("b.txt"))[0].status == 200


# --- bodies that are not read -----------------------------------------------------------------


def test_body_of_an_anonymous_client_is_not_read(small_parts: str, bucket: Bucket) -> None:
    stranger = Visitor(small_parts)
    with connect(stranger) as connection:
        connection.sendall(stranger.request_head("/upload/", length=100 * MIB))
        response = read_head(connection)
        assert status_of(response) == 302
        assert b"/accounts/login/" in response
        assert send_until_refused(connection, max_bytes=100 * MIB) < 8 * MIB  # socket buffers


def test_body_over_the_free_quota_is_rejected_before_reading(small_parts: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    with connect(visitor) as connection:
        connection.sendall(visitor.request_head("/upload/", length=65 * MIB))
        assert status_of(read_head(connection)) == 413
        assert send_until_refused(connection, max_bytes=65 * MIB) < 8 * MIB
    assert is_all_deleted(bucket, alice)


def test_cross_site_body_is_rejected_before_reading(small_parts: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    with connect(visitor) as connection:
        head = visitor.request_head("/upload/", length=50 * MIB, more=["Origin: https://evil.example"])
        connection.sendall(head)
        assert status_of(read_head(connection)) == 403


@pytest.mark.parametrize("path", ["/upload/", "/uploads/", "/accounts/login/", "/"])
def test_a_body_of_unknown_length_is_refused(path: str, small_parts: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    with connect(visitor) as connection:
        connection.sendall(visitor.request_head(path, length=None, more=["Transfer-Encoding: chunked"]))
        assert status_of(read_head(connection)) == 411
    assert is_all_deleted(bucket, alice)


@pytest.mark.parametrize("path", ["/uploads/", "/uploads/finish/", "/accounts/login/", "/admin/login/"])
def test_large_body_is_rejected_outside_the_upload_form(path: str, small_parts: str, alice: User) -> None:
    for visitor in (Visitor(small_parts), Visitor(small_parts, alice)):
        with connect(visitor) as connection:
            connection.sendall(visitor.request_head(path, length=5 * MIB))
            assert status_of(read_head(connection)) == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "١٢", "9" * 5000, "5, 5"])
def test_invalid_content_length_is_rejected(length: str, small_parts: str, alice: User) -> None:
    visitor = Visitor(small_parts, alice)
    with connect(visitor) as connection:
        connection.sendall(visitor.request_head("/upload/", length=None, more=[f"Content-Length: {length}"]))
        assert status_of(read_head(connection)) in {400, 413}


# --- memory and disk --------------------------------------------------------------------------


def test_large_upload_uses_little_memory_and_no_disk(site: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(site, alice).open_form()
    visitor.post(Chosen("warm.txt"))
    before, memory_samples, opened_paths = memory_of(site), [0], set(open_paths(site))
    paths_before = set(opened_paths)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            memory_samples.append(memory_of(site))
            opened_paths.update(open_paths(site))

    watcher = threading.Thread(target=watch)
    watcher.start()
    block = os.urandom(MIB)
    response, page = visitor.post_stream("large.bin", (block for _ in range(LARGE // MIB)), size=LARGE)
    done.set()
    watcher.join()
    assert (response.status, b"1 of 1 stored" in page) == (200, True)
    assert (max(memory_samples) - before) / MIB < 80
    assert opened_paths - paths_before == set()
    assert bucket.objects()[File.objects.get(name="large.bin").key] == LARGE


def test_large_file_is_stored_unchanged(small_parts: str, alice: User, bucket: Bucket) -> None:
    visitor = Visitor(small_parts, alice).open_form()
    block = os.urandom(MIB)
    visitor.post_stream("large.bin", (block for _ in range(40)), size=40 * MIB)
    stored = bucket.read(File.objects.get().key)
    assert hashlib.sha256(stored).digest() == hashlib.sha256(block * 40).digest()
