"""gunicorn's worker waits for no client in the thread that accepts connections."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from amalga.gunicorn_worker import LINGER_SECONDS
from amalga.local.processes import free_port
from tests.amalga.test_gunicorn import gunicorn
from tests.conftest import PROJECT

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
THREADS = 2

Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Open connections to a server of one process with two threads."""
    (tmp_path / "wsgi.py").write_text(APPLICATION)
    address = ("127.0.0.1", free_port())
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(tmp_path), "--bind", f"127.0.0.1:{address[1]}"]
    options = ["--worker-class", "amalga.gunicorn_worker.Worker", "--threads", str(THREADS), "--graceful-timeout", "1"]
    process = subprocess.Popen([*command, *options, "wsgi"], cwd=PROJECT, env={"PYTHONPATH": str(PROJECT)})
    with ExitStack() as stack:

        def open_connection() -> socket.socket:
            return stack.enter_context(socket.create_connection(address, timeout=10))

        end = time.monotonic() + 30
        while True:
            try:
                open_connection().close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < end
                time.sleep(0.1)
        yield open_connection
    process.terminate()
    process.wait()


def response(connection: socket.socket, request: bytes = REQUEST) -> bytes:
    connection.sendall(request)
    received = b""
    while data := connection.recv(4096):
        received += data
    return received


def send_slowly(connection: socket.socket, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(b"x")
        time.sleep(0.1)


def seconds_of_request(connect: Connect) -> float:
    started = time.monotonic()
    assert response(connect()).endswith(b"ok")
    return time.monotonic() - started


def test_site_uses_the_worker() -> None:
    assert gunicorn()["worker_class"] == "amalga.gunicorn_worker.Worker"


def test_clients_that_keep_their_end_open_delay_no_others(connect: Connect) -> None:
    connections = [connect() for _each in range(5)]
    assert all(response(each).endswith(b"ok") for each in connections)
    assert seconds_of_request(connect) < LINGER_SECONDS / 2


def test_connection_is_closed_though_the_client_keeps_its_end_open(connect: Connect) -> None:
    connection = connect()
    assert response(connection).endswith(b"ok")
    with pytest.raises(ConnectionError):
        send_slowly(connection, seconds=5 * LINGER_SECONDS)


def test_connections_without_a_request_occupy_no_thread(connect: Connect) -> None:
    silent = [connect() for _each in range(2 * THREADS)]
    assert seconds_of_request(connect) < 1
    assert all(response(each).endswith(b"ok") for each in silent)


def test_response_arrives_though_the_body_was_not_read(connect: Connect) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 50000\r\n\r\n"
    assert response(connect(), head + bytes(50_000)).endswith(b"ok")


def test_connection_is_kept_for_further_requests(connect: Connect) -> None:
    connection = connect()
    for _each in range(3):
        connection.sendall(REQUEST.replace(b"close", b"keep-alive"))
        received = b""
        while not received.endswith(b"ok"):
            received += connection.recv(4096)
