"""More people than a machine can serve: some are told to come back, before any work, and the others are served."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User

from amalga.web.arrivals import turned_away
from tests import shelf
from tests.conftest import serving
from tests.plain_form import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

CROWD = 700
SECONDS = 30
TOKEN = "a-token-of-these-tests"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def web(django_db_setup: None, folder: Path) -> Iterator[str]:
    """One process with two threads: a machine that is soon too small."""
    with serving(folder, {"WEB_CONCURRENCY": "1", "WEB_THREADS": "2", "METRICS_TOKEN": TOKEN}) as url:
        yield url


def asked_at_once(web: str, visitor: Visitor, stack: ExitStack, path: str = "/") -> list[socket.socket]:
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n".encode()
    connections = [stack.enter_context(socket.socket()) for _each in range(CROWD)]
    for connection in connections:
        connection.settimeout(SECONDS)
        connection.connect(("127.0.0.1", urlsplit(web).port or 0))
        connection.sendall(asked)
    return connections


def answer_to(connection: socket.socket) -> bytes:
    got = b""
    while chunk := connection.recv(65536):
        got += chunk
    return got


def test_a_crowd_is_served_as_far_as_it_goes_and_the_rest_is_told(web: str, folder: Path, alice: User) -> None:
    for number in range(50):
        shelf.add_file(alice, name=f"file {number}")
    visitor = Visitor(web, alice)
    with ExitStack() as stack:
        connections = asked_at_once(web, visitor, stack)
        begun = time.monotonic()
        assert urllib.request.urlopen(f"{web}/healthz", timeout=SECONDS).status == 200
        assert time.monotonic() - begun < 1
        answers = [answer_to(connection) for connection in connections]
    codes = Counter(int(answer.split()[1]) for answer in answers)
    assert set(codes) == {200, 503}
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
    assert all(b"\r\nRetry-After: 5\r\n" in answer for answer in refused)
    assert all(answer.endswith(b"</html>\n") for answer in answers if answer not in refused)
    assert visitor.ask("GET", "/")[0].status == 200  # it is over at once
    said_by = time.monotonic() + SECONDS
    while not re.search(r"overload turned_away=\d+", (folder / "web.log").read_text()):
        assert time.monotonic() < said_by
        time.sleep(0.1)
    asked = urllib.request.Request(f"{web}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked, timeout=SECONDS) as metrics:
        assert f"amalga_turned_away_total {len(refused)}.0\n".encode() in metrics.read()


def test_programs_are_told_in_their_own_words() -> None:
    answer = turned_away(seconds=5, protocol=True)
    head, _empty, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["error"]["code"] == "unavailable"
