"""Thousands of slow or idle connections to the shipped proxies, accidental or hostile, do not slow down
other clients."""

from __future__ import annotations

import http.client
import os
import resource
import selectors
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User

from amalga.local.processes import free_port
from tests.conftest import serving
from tests.deploy.test_proxies import REVERSE_PROXIES
from tests.faults.clients import SlowClient
from tests.support import factories, reverse_proxies
from tests.support.certificate_authority import CertificateAuthority
from tests.support.form_client import Visitor
from tests.support.reverse_proxies import Behind
from tests.support.stores import Bucket
from uploads.models import File

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

CONNECTIONS = 2000
ADDRESSES = 8  # source addresses of the connections
SECONDS = 20
REQUESTS = 40
SETTLED_SECONDS = 5
# Not noticeable; on a busy machine, a few milliseconds can double by chance.
NOT_NOTICED_SECONDS = 0.25


@pytest.fixture(scope="module", autouse=True)
def many_files() -> Iterator[None]:
    """Raise the limit of open files, which nginx and Caddy inherit: each connection is a file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def behind(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    probes = f"127.0.0.1:{free_port()}"
    variables = {"WEB_CONCURRENCY": "2", "WEB_THREADS": "8", "PROXY_COUNT": "1", "PROBE_BIND": probes}
    with serving(tmp_path_factory.mktemp("slow"), variables) as url:
        yield Behind(f"127.0.0.1:{urlsplit(url).port}", probes)


@pytest.fixture(scope="module", params=["container", "compose"])
def reverse_proxy(
    request: pytest.FixtureRequest,
    behind: Behind,
    authority: CertificateAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """nginx in a container, and Caddy in front of it; some tests use those with TLS instead."""
    with REVERSE_PROXIES[request.param](tmp_path_factory.mktemp("proxies"), behind, authority) as url:
        yield url


@pytest.fixture
def visitor(reverse_proxy: str, behind: Behind, authority: CertificateAuthority, alice: User) -> Callable[[str], float]:
    """Return a function that loads a page as alice over a new connection and returns the seconds."""
    for number in range(10):
        factories.create_file(alice, name=f"file {number}")
    cookies = "; ".join(f"{k}={v}" for k, v in Visitor(f"http://{behind.web}", alice).cookies.items())
    trusted = ssl.create_default_context(cafile=str(authority.file))

    def get(path: str) -> float:
        begun = time.monotonic()
        assert reverse_proxies.get(reverse_proxy, path, cookies=cookies, trusted=trusted, seconds=SECONDS).status == 200
        return time.monotonic() - begun

    return get


@pytest.fixture
def connect(reverse_proxy: str, authority: CertificateAuthority) -> Iterator[Callable[..., socket.socket]]:
    """Open connections from a few source addresses, and close them after the test."""
    place, context = urlsplit(reverse_proxy), ssl.create_default_context(cafile=str(authority.file))
    opened: list[socket.socket] = []

    def connect(*, tls: bool = True, room: int | None = None) -> socket.socket:
        connection = socket.socket()
        if room:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        connection.settimeout(SECONDS)
        connection.bind((f"127.0.0.{2 + len(opened) % ADDRESSES}", 0))
        connection.connect(("127.0.0.1", place.port or 0))
        if tls and place.scheme == "https":
            connection = context.wrap_socket(connection, server_hostname="localhost")
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


def request(first: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{first} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode() + body


SLOW: dict[str, bytes] = {
    "say nothing": b"",
    "begin a head": b"GET /accounts/login/ HTTP/1.1\r\nHost: loc",
    "begin a small body": request("POST /accounts/login/", "Content-Length: 300", body=b"a"),
    "begin a large body": request("POST /uploads/", "Content-Length: 4000000", body=b"a"),
    "begin a form": request("POST /upload/", "Content-Length: 9000000", body=b"a"),
    "begin a chunk": request("POST /accounts/login/", "Transfer-Encoding: chunked", body=b"1000\r\nuser"),
    "wait for a word": request("POST /accounts/login/", "Content-Length: 9", "Expect: 100-continue"),
    "get once and stay": request("GET /healthz"),
}


def p95(of: list[float]) -> float:
    return statistics.quantiles(of, n=20)[-1]


def assert_served_normally(visitor: Callable[[str], float], normal: float) -> None:
    """Wait until the handshakes of all connections are over, then measure the page."""
    end = time.monotonic() + SETTLED_SECONDS
    while visitor("/healthz") > 1:
        assert time.monotonic() < end
    assert p95([visitor("/") for _each in range(REQUESTS)]) < max(2 * normal, NOT_NOTICED_SECONDS)
    assert visitor("/readyz") < 1


@pytest.mark.parametrize("reverse_proxy", ["nginx", "caddy"], indirect=True)
def test_slow_tls_connections_do_not_delay_others(
    visitor: Callable[[str], float], connect: Callable[..., socket.socket]
) -> None:
    """Half of them do not even start a handshake."""
    normal = p95([visitor("/") for _each in range(REQUESTS)])
    for _each in range(CONNECTIONS // 2):
        connect(tls=False)
    for _each in range(CONNECTIONS // 4):
        with suppress(OSError):
            connect().sendall(SLOW["begin a small body"])
    assert_served_normally(visitor, normal)


@pytest.mark.parametrize("how", SLOW)
def test_two_thousand_slow_connections_do_not_delay_others(
    how: str, visitor: Callable[[str], float], connect: Callable[..., socket.socket]
) -> None:
    normal = p95([visitor("/") for _each in range(REQUESTS)])
    for _each in range(CONNECTIONS):
        connection = connect()
        with suppress(OSError):  # above the limit per address
            connection.sendall(SLOW[how])
            if how == "get once and stay":
                connection.recv(1000)
    assert_served_normally(visitor, normal)


def test_trickling_connections_do_not_delay_others(
    visitor: Callable[[str], float], connect: Callable[..., socket.socket]
) -> None:
    normal = p95([visitor("/") for _each in range(REQUESTS)])
    connections = [connect() for _each in range(CONNECTIONS // 4)]
    for connection in connections:
        connection.sendall(SLOW["begin a small body"])
    for _round in range(3):
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b"a")
        assert_served_normally(visitor, normal)


def test_slow_readers_do_not_delay_others(
    visitor: Callable[[str], float], connect: Callable[..., socket.socket], behind: Behind
) -> None:
    normal = p95([visitor("/") for _each in range(REQUESTS)])
    path = large_file(behind)
    connections = [connect(room=2048) for _each in range(CONNECTIONS)]
    for connection in connections:
        with suppress(OSError):
            connection.sendall(request(f"GET {path}"))
    wait_for_heads(connections)
    assert_served_normally(visitor, normal)


def large_file(behind: Behind) -> str:
    """The path of a file that is larger than a connection's first window."""
    with closing(http.client.HTTPConnection(behind.web, timeout=SECONDS)) as connection:
        connection.request("GET", "/accounts/login/", headers={"Host": "localhost"})
        page = connection.getresponse().read().decode()
    return page.split('rel="stylesheet" href="')[1].split('"')[0]


def wait_for_heads(connections: list[socket.socket]) -> None:
    """Wait until all connections have a response, so that only reading is left."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        end = time.monotonic() + SECONDS
        while selector.get_map() and time.monotonic() < end:
            for key, _events in selector.select(timeout=1):
                selector.unregister(key.fileobj)


# --- unbuffered requests and responses --------------------------------------------------------


def test_slow_form_uploads_do_not_block_pages(
    visitor: Callable[[str], float], behind: Behind, alice: User, bucket: Bucket, connect: Callable[..., socket.socket]
) -> None:
    normal = p95([visitor("/") for _each in range(REQUESTS)])
    upload_client = Visitor(f"http://{behind.web}", alice).open_form()
    cookies = "; ".join(f"{name}={value}" for name, value in upload_client.cookies.items())
    head = request("POST /upload/", f"Cookie: {cookies}", "Content-Length: 50000000",
                   "Content-Type: multipart/form-data; boundary=line", body=b"--line\r\n")  # fmt: skip
    for _each in range(40):
        connect().sendall(head)
    time.sleep(0.5)
    assert_served_normally(visitor, normal)


def test_slow_zip_downloads_do_not_block_pages(
    visitor: Callable[[str], float], behind: Behind, alice: User, bucket: Bucket, connect: Callable[..., socket.socket]
) -> None:
    normal = p95([visitor("/") for _each in range(REQUESTS)])
    upload_client = Visitor(f"http://{behind.web}", alice)
    file = factories.create_file(alice, name="large.bin", body=os.urandom(12_000_000))
    cookies = "; ".join(f"{name}={value}" for name, value in upload_client.cookies.items())
    for _each in range(40):
        connect(room=2048).sendall(request(f"GET /files/zip?file={file.pk}", f"Cookie: {cookies}"))
    time.sleep(0.5)
    assert_served_normally(visitor, normal)


def test_slow_but_steady_form_upload_succeeds(behind: Behind, alice: User, bucket: Bucket, tmp_path: Path) -> None:
    body = os.urandom(600_000)
    with reverse_proxies.nginx_in_container(tmp_path, behind) as url:
        SlowClient(url, alice, seconds=3).post("slow.bin", body)
    assert bucket.read(File.objects.get().key) == body
