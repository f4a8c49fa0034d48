"""The shipped files for nginx and Caddy, in front of a server that returns what it received."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from amalga.local.processes import free_port
from amalga.log import LINK_PATHS
from tests.amalga.test_gunicorn import gunicorn
from tests.conftest import PROJECT
from tests.support import reverse_proxies, waiting
from tests.support.certificate_authority import CertificateAuthority
from tests.support.reverse_proxies import Behind

pytestmark = pytest.mark.slow

SECONDS = 20
Fetch = Callable[..., tuple[int, dict[str, str], str]]
REVERSE_PROXIES: dict[str, Callable[[Path, Behind, CertificateAuthority], AbstractContextManager[str]]] = {
    "nginx": reverse_proxies.nginx_of_a_host,
    "caddy": reverse_proxies.caddy_of_a_host,
    "compose": lambda folder, behind, _authority: reverse_proxies.caddy_of_compose(folder, behind),
    "container": lambda folder, behind, _authority: reverse_proxies.nginx_in_container(folder, behind),
}


class Server:
    """Responds to each request with its headers as JSON; to `/hold` once `released` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.begun = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.begun += 1
                if "hold" in self.path or self.path == "/files/zip":
                    server.released.wait(SECONDS)
                if self.command == "POST" and self.path == "/upload/":
                    self.rfile.read(int(self.headers["Content-Length"]))
                body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
                self.send_response(int(self.headers.get("X-Status", 200)))
                self.send_header("Content-Length", str(len(body)))
                if cookie := self.headers.get("X-Set-Cookie"):
                    self.send_header("Set-Cookie", cookie)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None: ...

        self.http = Http(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.address = f"127.0.0.1:{self.http.server_address[1]}"


class Http(ThreadingHTTPServer):
    request_queue_size = 500
    daemon_threads = True


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.released.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(params=REVERSE_PROXIES)
def reverse_proxy(
    request: pytest.FixtureRequest, server: Server, authority: CertificateAuthority, tmp_path: Path
) -> Iterator[str]:
    with REVERSE_PROXIES[request.param](tmp_path, Behind(server.address, server.address), authority) as url:
        yield url


@pytest.fixture
def container(server: Server, tmp_path: Path) -> Iterator[str]:
    with reverse_proxies.nginx_in_container(tmp_path, Behind(server.address, server.address)) as url:
        yield url


@pytest.fixture
def fetch(authority: CertificateAuthority) -> Fetch:
    context = ssl.create_default_context(cafile=str(authority.file))

    def fetch(url: str, data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            response = urllib.request.urlopen(
                urllib.request.Request(url, data, named), timeout=SECONDS, context=context
            )  # fmt: skip
        except urllib.error.HTTPError as refusal:
            response = refusal
        with response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read().decode()

    return fetch


wait_until = partial(waiting.wait_until, seconds=SECONDS)


# --- forged headers ---------------------------------------------------------------------------


def test_proxy_replaces_forged_proxy_headers(reverse_proxy: str, fetch: Fetch) -> None:
    stranger = {
        "X_Request_Id": "0123456789abcdef", "X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "gopher",
        "X_Forwarded_Ssl": "on", "X_Forwarded_Protocol": "ssl", "X_Forwarded_Host": "evil.example.org",
        "X_Real_IP": "203.0.113.9", "Forwarded": "for=203.0.113.9",
    }  # fmt: skip
    _status, _headers, body = fetch(f"{reverse_proxy}/", **stranger)
    headers = json.loads(body)
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
    assert headers["host"] == urlsplit(reverse_proxy).netloc
    assert {"forwarded", "x-forwarded-ssl", "x-forwarded-protocol", "x-real-ip"}.isdisjoint(headers)
    assert "evil" not in body


@pytest.mark.parametrize("name", ["nginx", "caddy", "compose"])
def test_outermost_proxy_sends_one_address_and_the_scheme(
    name: str, server: Server, authority: CertificateAuthority, tmp_path: Path, fetch: Fetch
) -> None:
    with REVERSE_PROXIES[name](tmp_path, Behind(server.address, server.address), authority) as url:
        stranger = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "gopher", "X_Amzn_Trace_Id": "Root=1-2-3"}
        headers = json.loads(fetch(f"{url}/", **stranger)[2])
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", urlsplit(url).scheme)
    assert "x-amzn-trace-id" not in headers


def test_container_takes_the_last_address_that_a_load_balancer_added(container: str, fetch: Fetch) -> None:
    added = {"X_Forwarded_For": "198.51.100.7, 203.0.113.9", "X_Forwarded_Proto": "https"}
    headers = json.loads(fetch(f"{container}/", **added)[2])
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("203.0.113.9", "https")


# --- bodies -----------------------------------------------------------------------------------


def connect(url: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=SECONDS)
    connection.settimeout(SECONDS)
    return connection


def begin(url: str, path: str, *, length: int = 300, sent: bytes = b"a") -> socket.socket:
    connection = connect(url)
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + sent)
    return connection


def test_body_is_forwarded_once_it_is_complete(container: str, server: Server) -> None:
    with begin(container, "/accounts/login/") as connection:
        time.sleep(0.3)
        assert server.begun == 0
        connection.sendall(b"a" * 299)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_upload_form_is_streamed(container: str, server: Server) -> None:
    with begin(container, "/upload/", length=30_000_000) as connection:
        wait_until(lambda: server.begun == 1)
        for _each in range(30):
            connection.sendall(b"a" * 1_000_000)
        connection.close()


def test_share_is_answered_by_amalga_without_its_body(container: str, server: Server, fetch: Fetch) -> None:
    with begin(container, "/share-target/", length=10**12) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")  # before the body was sent
    status, _headers, body = fetch(f"{container}/share-target/", b"x" * 6_000_000)
    assert status == 200
    assert json.loads(body)["content-length"] == "0"


def test_body_over_the_limit_gets_an_error_of_the_protocol(container: str, fetch: Fetch) -> None:
    status, headers, body = fetch(f"{container}/uploads/", b"x" * 6_000_000)
    assert (status, headers["content-type"], json.loads(body)["error"]["code"]) == (
        413,
        "application/json",
        "too_large",
    )


# --- more requests than can be served ---------------------------------------------------------


def hold_requests(stack: ExitStack, url: str, path: str, count: int, *, senders: int = 10) -> None:
    """Send `count` requests from several addresses, without reading the responses."""
    for number in range(count):
        connection = stack.enter_context(socket.socket())
        connection.bind((f"127.0.0.{2 + number % senders}", 0))
        connection.connect(("127.0.0.1", urlsplit(url).port or 0))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def test_requests_over_the_bound_are_answered_503_with_retry_after(
    container: str, server: Server, fetch: Fetch
) -> None:
    with ExitStack() as stack:
        hold_requests(stack, container, "/hold", 256)
        wait_until(lambda: server.begun == 256)
        status, headers, body = fetch(f"{container}/")
        assert (status, headers["retry-after"], headers["cache-control"]) == (503, "5", "no-store")
        status, headers, body = fetch(f"{container}/uploads/", b"{}")
        assert (status, headers["retry-after"], json.loads(body)["error"]["code"]) == (503, "5", "unavailable")
        assert [fetch(f"{container}{path}")[0] for path in ("/healthz", "/readyz")] == [200, 200]
        server.released.set()
    wait_until(lambda: fetch(f"{container}/")[0] == 200)


def test_zips_and_forms_leave_room_for_pages(container: str, server: Server, fetch: Fetch) -> None:
    with ExitStack() as stack:
        hold_requests(stack, container, "/files/zip", 6)
        wait_until(lambda: server.begun == 6)
        status, headers, _body = fetch(f"{container}/files/zip")
        assert (status, headers["retry-after"]) == (503, "5")
        assert fetch(f"{container}/upload/", b"x")[0] == 503
        assert (fetch(f"{container}/")[0], fetch(f"{container}/upload/")[0]) == (200, 200)


def test_one_address_has_a_bounded_number_of_requests(container: str, server: Server, fetch: Fetch) -> None:
    with ExitStack() as stack:
        hold_requests(stack, container, "/hold", 200, senders=1)
        wait_until(lambda: server.begun == 200)
        responses = []
        for path in ("/", "/uploads/"):
            connection = stack.enter_context(socket.socket())
            connection.bind(("127.0.0.2", 0))
            connection.connect(("127.0.0.1", urlsplit(container).port or 0))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            responses.append(connection.makefile("rb").read())
        assert all(
            response.startswith(b"HTTP/1.1 429") and b"\r\nRetry-After: 5\r\n" in response for response in responses
        )
        assert b'"code": "throttled"' in responses[1]
        assert fetch(f"{container}/")[0] == 200


def test_requests_for_public_links_are_limited_for_each_address(
    reverse_proxy: str, server: Server, authority: CertificateAuthority, fetch: Fetch
) -> None:
    """Of the client, also where Caddy is between the client and nginx."""
    with ExitStack() as stack:
        responses: Counter[bytes] = Counter()
        connection = stack.enter_context(socket.socket())
        connection.bind(("127.0.0.2", 0))
        connection.connect(("127.0.0.1", urlsplit(reverse_proxy).port or 0))
        if reverse_proxy.startswith("https:"):
            context = ssl.create_default_context(cafile=str(authority.file))
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
        replies = stack.enter_context(connection.makefile("rb"))
        for number in range(600):
            connection.sendall(f"GET /s/{number:032}/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += replies.readline()
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            replies.read(int(length[1]) if length else 0)
            responses[head[9:12]] += 1
            if head.startswith(b"HTTP/1.1 429"):
                assert b"\r\nRetry-After: 5\r\n" in head
                break
        assert responses[b"200"] >= 200
        assert responses[b"429"] == 1
        assert fetch(f"{reverse_proxy}/s/{'a' * 32}/")[0] == 200  # from another address


def test_slow_bodies_of_an_address_do_not_block_its_pages(container: str, server: Server, fetch: Fetch) -> None:
    with ExitStack() as stack:
        for _each in range(120):
            stack.enter_context(begin(container, "/accounts/login/"))
        assert (fetch(f"{container}/")[0], fetch(f"{container}/accounts/login/", b"x")[0]) == (200, 429)


def test_unavailable_web_server_is_503(tmp_path: Path, fetch: Fetch) -> None:
    away = Behind(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    with reverse_proxies.nginx_in_container(tmp_path, away) as url:
        status, headers, _body = fetch(f"{url}/")
    assert (status, headers["retry-after"]) == (503, "5")
    assert re.search(r'"GET /" 503 .* busy$', (tmp_path / "nginx" / "access.log").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", LINK_PATHS)
def test_logs_leave_out_the_tokens_of_public_links(path: str, tmp_path: Path, fetch: Fetch) -> None:
    away = Behind(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    token = "k3-Yp_0aB9cD8eF7gH6iJ5kL4mN3oP2q"
    with reverse_proxies.caddy_of_compose(tmp_path, away) as url:
        assert [fetch(f"{url}{path}{token}/{suffix}")[0] for suffix in ("", "download", "zip")] == [503] * 3
    logs = [file for name in ("access.log", "error.log") for file in tmp_path.rglob(name)]
    assert f'"GET {path}***/download" 503' in (tmp_path / "nginx" / "access.log").read_text()
    assert [file for file in logs if token in file.read_text()] == []


def test_caddy_logs_its_errors_without_the_tokens_of_public_links(tmp_path: Path, fetch: Fetch) -> None:
    token = "k3-Yp_0aB9cD8eF7gH6iJ5kL4mN3oP2q"
    port = free_port()
    caddy = reverse_proxies.Caddy(
        tmp_path / "caddy", "compose/Caddyfile", {"proxy:8080": f"127.0.0.1:{free_port()}"},
        {"SITE_ADDRESS": f"http://localhost:{port}", "STORE_ADDRESS": f"http://s3.localhost:{port}"},
    )  # fmt: skip
    with reverse_proxies.running(caddy, port):
        assert [fetch(f"http://localhost:{port}{path}{token}/")[0] for path in LINK_PATHS] == [502] * len(LINK_PATHS)
    log = caddy.daemon.log_file.read_text()
    assert all(f"{path}***/" in log for path in LINK_PATHS)
    assert token not in log


def test_storage_at_another_port_of_the_site_sees_no_cookies(tmp_path: Path, fetch: Fetch, server: Server) -> None:
    site, store = free_port(), free_port()
    caddy = reverse_proxies.Caddy(
        tmp_path / "caddy", "compose/Caddyfile", {"store:7070": server.address},
        {"SITE_ADDRESS": f"http://localhost:{site}", "STORE_ADDRESS": f"http://localhost:{store}"},
    )  # fmt: skip
    with reverse_proxies.running(caddy, store):
        status, headers, body = fetch(f"http://localhost:{store}/", Cookie="sessionid=x", X_Set_Cookie="a=b")
    assert (status, "cookie" in json.loads(body), "set-cookie" in headers) == (200, False, False)


def test_errors_of_amalga_pass_through(container: str, fetch: Fetch) -> None:
    for status in (413, 429, 502, 503):
        code, headers, body = fetch(f"{container}/", X_Status=str(status))
        assert (code, json.loads(body)["x-status"], "retry-after" in headers) == (status, str(status), False)


def test_health_checks_fall_back_to_gunicorn(server: Server, tmp_path: Path, fetch: Fetch) -> None:
    with reverse_proxies.nginx_in_container(tmp_path, Behind(server.address, f"127.0.0.1:{free_port()}")) as url:
        assert fetch(f"{url}/healthz")[0] == 200


# --- related limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nginx/upstreams.conf", "compose/upstreams.conf"])
def test_limits_of_nginx_match_gunicorn(name: str) -> None:
    text = (PROJECT / "deploy" / name).read_text()
    bounds = {
        upstream: int(number)
        for upstream, number in re.findall(r"upstream (\w+) \{[^}]*?max_conns=(\d+)", text)
    }  # fmt: skip
    assert bounds["amalga_long"] <= gunicorn()["threads"] - 2
    assert sum(bounds.values()) < gunicorn()["backlog"]


@pytest.mark.parametrize("name", ["systemd/nginx.conf", "systemd/nginx-behind-caddy.conf", "nginx/container.conf"])
def test_nginx_may_open_two_files_for_each_connection(name: str) -> None:
    text = (PROJECT / "deploy" / name).read_text()
    files = re.search(r"worker_rlimit_nofile (\d+);", text)
    connections = re.search(r"worker_connections (\d+);", text)
    assert files
    assert connections
    assert int(files[1]) > 2 * int(connections[1]) >= 2 * 8000
