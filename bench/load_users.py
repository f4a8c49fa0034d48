"""Simulate many concurrent users: the plan comes as JSON on stdin, the statistics go to stdout.

One loop over plain sockets, so that it takes as little as possible of the CPUs that it shares with the server. Users
send the next request as soon as the response to the last one has arrived; only after 503 with Retry-After they wait, as
browsers and the uploader do. Each user has a separate address.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import re
import resource
import selectors
import socket
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 30
RECONNECT_SECONDS = 1
BODY = os.urandom(10 * 1024)
RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(slots=True)
class Step:
    """One request, and its kind in the results. Requests to storage are not counted."""

    kind: str
    address: tuple[str, int]
    request: bytes
    expected: int


@dataclass(slots=True)
class Response:
    status: int
    body: bytes


Scenario = Generator[Step, Response, None]


@dataclass(slots=True)
class Stats:
    """Response times and statuses of one kind of request."""

    ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0  # 503 without that header


class Connection:
    """A persistent connection, and the response that is being read from it."""

    def __init__(self, address: tuple[str, int], source: str) -> None:
        self.socket = socket.create_connection(address, timeout=TIMEOUT_SECONDS, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.is_idle = True

    def send(self, request: bytes) -> None:
        self.buffer, self.is_idle = b"", False
        self.socket.sendall(request)

    def read(self) -> bytes | None:
        """Return the whole response, or None while it is incomplete."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("closed early")
        self.buffer += chunk
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = LENGTH.search(self.buffer, 0, end + 2)
        if length is None and not self.buffer.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")):
            raise ConnectionError("a response without a length")
        return self.buffer if not length or len(self.buffer) >= end + 4 + int(length[1]) else None


class User:
    """A user who sends one request after the other."""

    def __init__(self, generator: LoadGenerator, scenario: Scenario, source: str) -> None:
        self.generator, self.scenario, self.source = generator, scenario, source
        self.connections: dict[tuple[str, int], Connection] = {}
        self.step = next(scenario)
        self.started = 0.0
        self.send()

    def send(self) -> None:
        address = self.step.address
        self.started = time.perf_counter()
        connection = self.connections.get(address)
        if connection is None:
            connection = self.connections[address] = Connection(address, self.source)
            self.generator.selector.register(connection.socket, selectors.EVENT_READ, (self, connection))
        connection.send(self.step.request)

    def handle_readable(self, connection: Connection) -> None:
        try:
            data = connection.read()
        except OSError:
            self.close(connection)
            if not connection.is_idle:
                self.handle_response(Response(0, b""))
            return
        if data is not None:
            connection.is_idle = True
            head, _empty, body = data.partition(b"\r\n\r\n")
            if CLOSES.search(head):
                self.close(connection)
            match = RETRY_AFTER.search(head)
            self.handle_response(Response(int(data[9:12]), body), retry_after=int(match[1]) if match else 0)

    def close(self, connection: Connection) -> None:
        self.generator.selector.unregister(connection.socket)
        connection.socket.close()
        self.connections = {key: value for key, value in self.connections.items() if value is not connection}

    def handle_response(self, response: Response, *, retry_after: int = 0) -> None:
        self.generator.record(self.step, response, time.perf_counter() - self.started, has_retry_after=retry_after > 0)
        self.step = self.scenario.send(response)
        if response.status == 503 and retry_after:
            self.generator.wait(self, retry_after)
        else:
            self.resume()

    def resume(self) -> None:
        try:
            self.send()
        except OSError:
            for connection in list(self.connections.values()):
                self.close(connection)
            self.generator.stats[self.step.kind].statuses[0] += 1
            self.generator.wait(self, RECONNECT_SECONDS)


class LoadGenerator:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.selector = selectors.DefaultSelector()
        self.stats: defaultdict[str, Stats] = defaultdict(Stats)
        self.end = time.perf_counter() + plan["seconds"]
        self.waiting: list[tuple[float, int, User]] = []
        self.waited = 0

    def run(self) -> dict[str, Any]:
        for number in range(self.plan["users"]):
            User(self, scenario(self.plan, number), f"127.1.{number // 200}.{1 + number % 200}")
        while time.perf_counter() < self.end:
            for key, _events in self.selector.select(timeout=0.1):
                user, connection = key.data
                user.handle_readable(connection)
            while self.waiting and self.waiting[0][0] < time.perf_counter():
                heapq.heappop(self.waiting)[2].resume()
        return {
            kind: {"ms": stats.ms, "statuses": stats.statuses, "without_retry_after": stats.without_retry_after}
            for kind, stats in self.stats.items()
            if kind != "storage"
        }

    def wait(self, user: User, seconds: int) -> None:
        self.waited += 1
        heapq.heappush(self.waiting, (time.perf_counter() + seconds, self.waited, user))

    def record(self, step: Step, response: Response, seconds: float, *, has_retry_after: bool) -> None:
        stats = self.stats[step.kind]
        stats.statuses[response.status] += 1
        if response.status == step.expected:
            stats.ms.append(seconds * 1000)
        elif response.status == 503 and not has_retry_after:
            stats.without_retry_after += 1


# --- scenarios --------------------------------------------------------------------------------------


def scenario(plan: dict[str, Any], number: int) -> Scenario:
    chance = random.Random(number)
    user = plan["sessions"][number % len(plan["sessions"])]
    kinds, weights = list(plan["mix"]), list(plan["mix"].values())
    site = _address(plan["url"])
    while True:
        kind = chance.choices(kinds, weights)[0]
        if kind == "upload":
            yield from _upload(plan, user, site)
            continue
        path, expected = chance.choice(plan["paths"][kind]), 302 if kind == "redirect" else 200
        yield Step(kind, site, _request("GET", path, site, user), expected)


def _upload(plan: dict[str, Any], user: dict[str, str], site: tuple[str, int]) -> Scenario:
    """Upload a file of ten kilobytes: start, PUT to storage, finish."""
    item = {"token": str(uuid.uuid4()), "name": "load.bin", "size": len(BODY), "sha256": plan["sha256"]}
    response = yield Step("start", site, _request("POST", "/uploads/", site, user, {"files": [item]}), 200)
    if response.status != 200:
        return
    (started,) = json.loads(response.body)["files"]
    (signed,) = started["parts"]
    parts = urlsplit(signed["url"])
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed["headers"].items())
    put = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(BODY)}\r\n"
    stored = yield Step("storage", _address(signed["url"]), f"{put}{headers}\r\n".encode() + BODY, 200)
    if stored.status == 200:
        finish = {"files": [{"id": started["id"], "sha256": [plan["sha256"]]}]}
        yield Step("finish", site, _request("POST", "/uploads/finish/", site, user, finish), 200)


def _request(method: str, path: str, site: tuple[str, int], user: dict[str, str], data: object = None) -> bytes:
    body = b"" if data is None else json.dumps(data).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{site[1]}", f"Cookie: {user['cookie']}",
             "Accept-Language: en"]  # fmt: skip
    if body:
        lines += [f"X-CSRFToken: {user['token']}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    return ("127.0.0.1" if host == "localhost" else host, parts.port or 80)


def main() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    json.dump(LoadGenerator(json.load(sys.stdin)).run(), sys.stdout)


if __name__ == "__main__":
    main()
