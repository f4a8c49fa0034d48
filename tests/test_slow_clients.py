"""Connections that are slow, by their line or on purpose, keep no thread: whoever is quick is answered quickly."""

from __future__ import annotations

import http.client
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from amalga.web.arrivals import GO_ON, MOST_BODY, MOST_HEAD, Arrival, Lane, TooMuch, expectation, looked_at
from amalga.web.worker import MOST_HELD
from tests.conftest import serving
from tests.faults.people import Person
from tests.plain_form import Visitor
from tests.stores import Bucket
from uploads.models import File

pytestmark = pytest.mark.django_db(transaction=True)

CROWD = 200
SECONDS = 20
HOST = b"Host: localhost\r\n"


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("slow"), {"WEB_CONCURRENCY": "2", "WEB_THREADS": "8"}) as url:
        yield url


@pytest.fixture
def connect(web: str) -> Iterator[Callable[..., socket.socket]]:
    """Opens a connection that is closed after the test."""
    with ExitStack() as stack:

        def connect(*, room: int | None = None) -> socket.socket:
            connection = stack.enter_context(socket.socket())
            if room:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            connection.settimeout(SECONDS)
            connection.connect(("127.0.0.1", urlsplit(web).port or 0))
            return connection

        yield connect


def took(url: str) -> float:
    begun = time.monotonic()
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        assert answer.status == 200
        answer.read()
    return time.monotonic() - begun


def answer_to(connection: socket.socket) -> bytes:
    got = b""
    while chunk := connection.recv(65536):
        got += chunk
    return got


def large_file(web: str) -> bytes:
    """The path of a file that is larger than a connection's first window."""
    page: str = urllib.request.urlopen(f"{web}/accounts/login/", timeout=SECONDS).read().decode()
    return page.split('rel="stylesheet" href="')[1].split('"')[0].encode()


def request(first: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{first} HTTP/1.1", *headers, "", ""]).encode() + body


SLOW: dict[str, bytes] = {
    "say nothing": b"",
    "begin a head": b"GET /accounts/login/ HTTP/1.1\r\nHost: loc",
    "say no more than a head's end": b"\r\n\r\n",
    "begin a body": request("POST /accounts/login/", "Host: localhost", "Content-Length: 1000", body=b"username="),
    "begin a large body": request("POST /upload/", "Host: localhost", "Content-Length: 9000000", body=b"xyz"),
    "begin a chunk": request(
        "POST /accounts/login/", "Host: localhost", "Transfer-Encoding: chunked", body=b"1000\r\nuser"
    ),
    "wait for a word": request("POST /accounts/login/", "Host: localhost", "Content-Length: 9", "Expect: 100-continue"),
    "lead a length with zeros": request("GET /healthz", "Host: localhost", "Content-Length: " + "5".zfill(25)),
    "promise more than there is": request("POST /accounts/login/", "Host: localhost", "Content-Length: " + "9" * 22),
}


@pytest.mark.parametrize("how", SLOW)
def test_two_hundred_who_are_slow_keep_nobody_waiting(
    how: str, web: str, connect: Callable[..., socket.socket]
) -> None:
    for _each in range(CROWD):
        connect().sendall(SLOW[how])
    assert took(f"{web}/healthz") < 1
    assert took(f"{web}/accounts/login/") < 1


def test_two_hundred_who_read_slowly_keep_nobody_waiting(web: str, connect: Callable[..., socket.socket]) -> None:
    path = large_file(web)
    for _each in range(CROWD):
        connect(room=2048).sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert took(f"{web}/healthz") < 1
    assert took(f"{web}/accounts/login/") < 1


def test_forms_that_come_slowly_leave_threads_for_others(
    web: str, alice: User, bucket: Bucket, connect: Callable[..., socket.socket]
) -> None:
    visitor = Visitor(web, alice).open_form()
    for _each in range(40):
        connect().sendall(visitor_head(visitor, length=50_000_000))
    time.sleep(0.5)
    assert took(f"{web}/accounts/login/") < 1
    assert visitor.ask("GET", "/")[0].status == 200


@pytest.mark.parametrize("headers", [["Content-Length: 4000000"], ["Content-Length: 9", "Expect: 100-continue"]])
def test_bodies_of_strangers_leave_threads_for_forms(
    headers: list[str], web: str, alice: User, bucket: Bucket, connect: Callable[..., socket.socket]
) -> None:
    cookie = f"Cookie: {settings.CSRF_COOKIE_NAME}={'x' * 32}"  # anybody makes one up
    form = "Content-Type: application/x-www-form-urlencoded"
    for _each in range(40):
        connect().sendall(request("POST /accounts/login/", "Host: localhost", cookie, form, *headers))
    begun = time.monotonic()
    Person(web, alice).post("quick.bin", b"x" * 600_000)
    assert time.monotonic() - begun < 5


def test_bodies_that_wait_have_a_bound(web: str, connect: Callable[..., socket.socket]) -> None:
    """Whoever has sent for longest makes room for the others."""
    head = request("POST /accounts/login/", "Host: localhost", f"Content-Length: {MOST_BODY}")
    slow = [connect() for _each in range(2 * 2 * MOST_HELD // MOST_BODY)]  # twice what both processes hold
    for connection in slow:
        connection.sendall(head + b"x" * (MOST_BODY - 1))
    assert took(f"{web}/accounts/login/") < 1
    assert answer_to(slow[0]).startswith(b"HTTP/1.1 503")
    slow[-1].sendall(b"x")
    assert slow[-1].recv(100).startswith(b"HTTP/1.1 403")  # no token of a form


def test_whoever_waits_for_a_word_hears_it_once(connect: Callable[..., socket.socket]) -> None:
    connection = connect()
    expecting = ["Host: localhost", "Content-Length: 9", "Connection: close", "expect: 100-Continue"]
    connection.sendall(request("POST /accounts/login/", *expecting))
    assert connection.recv(100) == GO_ON
    connection.sendall(b"username=")
    assert answer_to(connection).startswith(b"HTTP/1.1 403")  # no token of a form


def test_http_1_0_knows_no_word() -> None:
    head = request("POST /", "Content-Length: 9", "Expect: 100-continue")
    assert expectation(head) == slice(head.find(b"\r\nExpect"), len(head) - 4)
    assert expectation(head.replace(b"HTTP/1.1", b"HTTP/1.0")) is None


def test_a_silent_database_does_not_make_us_look_dead(django_db_setup: None, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as stack:
        variables = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "2"}
        url = stack.enter_context(serving(tmp_path, variables, database_port=silent.getsockname()[1]))
        for _monitor in range(3):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)))
            connection.sendall(request("GET /readyz", "Host: localhost"))
        time.sleep(0.3)
        assert took(f"{url}/healthz") < 1


def visitor_head(visitor: Visitor, *, length: int) -> bytes:
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    return (
        f"POST /upload/ HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=line\r\n\r\n--line\r\n"
    ).encode()


def test_a_request_that_comes_byte_by_byte_is_answered(connect: Callable[..., socket.socket]) -> None:
    connection = connect()
    for byte in b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n":
        connection.send(bytes([byte]))
    assert b"HTTP/1.1 200" in answer_to(connection)


def test_requests_that_come_together_are_answered_in_order(connect: Callable[..., socket.socket]) -> None:
    connection = connect()
    one, other = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /nowhere/ HTTP/1.1\r\n" + HOST
    connection.sendall(one + other)
    time.sleep(0.3)
    connection.sendall(b"Connection: close\r\n\r\n")
    got = answer_to(connection)
    assert got.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 404" in got


def test_a_connection_is_used_for_many_requests(web: str) -> None:
    ports = set()
    with closing(http.client.HTTPConnection(urlsplit(web).netloc, timeout=SECONDS)) as connection:
        for _turn in range(5):
            connection.request("GET", "/accounts/login/")
            assert connection.getresponse().read()
            ports.add(connection.sock.getsockname())
    assert len(ports) == 1


@pytest.mark.parametrize("head", [b"X: " + b"x" * 20_000, b"\r\n".join(b"X-%d: 1" % n for n in range(70)),
                                  b"X: " + b"x" * 2 * MOST_HEAD])  # fmt: skip
def test_heads_without_measure_are_refused(head: bytes, connect: Callable[..., socket.socket]) -> None:
    connection = connect()
    connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + head + b"\r\n\r\n")
    assert answer_to(connection).startswith(b"HTTP/1.1 431")


def test_an_address_without_measure_is_refused(connect: Callable[..., socket.socket]) -> None:
    connection = connect()
    connection.sendall(b"GET /?q=" + b"x" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer_to(connection).startswith(b"HTTP/1.1 414")


def test_a_form_that_comes_slowly_and_does_not_stop_arrives(web: str, alice: User, bucket: Bucket) -> None:
    body = os.urandom(600_000)
    Person(web, alice, seconds=3).post("slow.bin", body)
    assert bucket.read(File.objects.get().key) == body


# --- what is looked at ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (b"", None),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", None),
        (request("GET /", "Host: x"), Arrival(Lane.QUICK, whole=True)),
        (request("POST /", "Content-Length: 5", body=b"1234"), None),
        (request("POST /", "content-LENGTH: 5 ", body=b"12345"), Arrival(Lane.QUICK, whole=True)),
        (request("POST /", f"Content-Length: {MOST_BODY + 1}"), Arrival(Lane.LONG, whole=False)),
        (request("POST /", "Transfer-Encoding: chunked"), Arrival(Lane.LONG, whole=False)),
        (request("POST /", "Content-Length: 3", "Expect: 100-continue"), None),
        (request("POST /", "Content-Length: 300000", "Expect: 100-continue"), Arrival(Lane.LONG, whole=False)),
        (request("POST /files/zip", "Content-Length: 3", body=b"a=b"), Arrival(Lane.LONG, whole=True)),
        (request("POST /", "Content-Length: " + "5".zfill(25)), Arrival(Lane.LONG, whole=False)),
        (request("POST /", "Content-Length: \xb2"), Arrival(Lane.LONG, whole=False)),
        (request("GET /healthz", "Content-Length: " + "5".zfill(25)), Arrival(Lane.ALIVE, whole=False)),
        (request("GET /healthz"), Arrival(Lane.ALIVE, whole=True)),
        (request("HEAD /readyz"), Arrival(Lane.READY, whole=True)),
        (request("GET /healthzzz"), Arrival(Lane.QUICK, whole=True)),
    ],
)
def test_what_came_tells_who_may_take_it(got: bytes, expected: Arrival | None) -> None:
    assert looked_at(got) == expected


def test_a_head_without_an_end_is_too_much() -> None:
    with pytest.raises(TooMuch):
        looked_at(b"GET / HTTP/1.1\r\nX: " + b"x" * MOST_HEAD)


def test_a_line_of_a_body_is_no_header(tmp_path: Path) -> None:
    got = request("POST /", "Content-Length: 28", body=b"a\r\ncontent-length: 900000\r\nb\r\n")
    assert looked_at(got[: got.find(b"\r\n\r\n") + 4 + 28]) == Arrival(Lane.QUICK, whole=True)
