"""Health checks at a separate address: answered even if every thread is busy."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from amalga import probe_server
from amalga.local.processes import free_port
from tests.conftest import serving

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SECONDS = 20
FEW = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "2"}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a database that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def status(port: int, path: str, method: str = "GET") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request(method, path)
        return connection.getresponse().status


def test_probes_are_answered_while_all_threads_wait_for_a_silent_database(
    django_db_setup: None, silent: int, tmp_path: Path
) -> None:
    port = free_port()
    with ExitStack() as stack:
        variables = {**FEW, "PROBE_BIND": f"127.0.0.1:{port}"}
        web = urlsplit(stack.enter_context(serving(tmp_path, variables, database_port=silent))).port or 0
        for _each in range(20):
            waiting = stack.enter_context(socket.create_connection(("127.0.0.1", web)))
            waiting.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.3)
        begun = time.monotonic()
        assert status(port, "/healthz") == 200
        assert time.monotonic() - begun < 1
        assert status(port, "/readyz") == 503
        assert time.monotonic() - begun < 5


def test_probe_address_serves_nothing_else(django_db_setup: None, tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, {**FEW, "PROBE_BIND": f"127.0.0.1:{port}"}):
        statuses = [status(port, path) for path in ("/healthz", "/readyz", "/accounts/login/", "/metrics")]
        assert statuses == [200, 200, 404, 404]
        assert status(port, "/healthz", "HEAD") == 200
        with socket.create_connection(("127.0.0.1", port)) as nonsense:
            nonsense.sendall(b"\x00\r\n\r\n")
            assert nonsense.recv(100)
        assert status(port, "/healthz") == 200


def test_probe_address_can_be_a_unix_socket(django_db_setup: None, tmp_path: Path) -> None:
    path = tmp_path / "probes.sock"
    path.touch()  # left by a killed process
    with serving(tmp_path, {**FEW, "PROBE_BIND": f"unix:{path}"}), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("bind", ["8001", "127.0.0.1:", ":8001", "127.0.0.1:eight", "127.0.0.1:70000"])
def test_invalid_probe_address_is_rejected(bind: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"PROBE_BIND must be HOST:PORT or unix:PATH, not “{bind}”")):
        probe_server.listener(bind)
