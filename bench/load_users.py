"""Many people at once, in a process of their own: a plan as JSON comes by stdin, what they met goes to stdout.

One loop over plain sockets, so that it takes as little as possible of the processors that it shares with the server.
Nobody pauses between two requests: so many people are always waiting for an answer. Only who is told to come back later
(503 with Retry-After) does so, as browsers and our uploader do. Each has an address of their own.
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

PATIENCE_SECONDS = 30
BODY = os.urandom(10 * 1024)
RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(slots=True)
class Step:
    """One request, and what it is called in the results. The store's are not counted."""

    kind: str
    address: tuple[str, int]
    request: bytes
    expected: int


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes


Life = Generator[Step, Answer, None]


@dataclass(slots=True)
class Met:
    """What all of them met of one kind."""

    ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    late: int = 0  # 503 without a word when to come back


class Line:
    """A connection that is kept, and the answer that comes through it."""

    def __init__(self, address: tuple[str, int], source: str) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE_SECONDS, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""

    def ask(self, request: bytes) -> None:
        self.got = b""
        self.socket.sendall(request)

    def read(self) -> bytes | None:
        """The whole answer, or None until it is here."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("closed early")
        self.got += chunk
        end = self.got.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = LENGTH.search(self.got, 0, end + 2)
        if length is None and not self.got.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")):
            raise ConnectionError("an answer without a length")
        return self.got if not length or len(self.got) >= end + 4 + int(length[1]) else None


class User:
    """One who asks, waits, and asks the next thing."""

    def __init__(self, crowd: Crowd, life: Life, source: str) -> None:
        self.crowd, self.life, self.source = crowd, life, source
        self.lines: dict[tuple[str, int], Line] = {}
        self.step = next(life)
        self.begun = 0.0
        self.begin()

    def begin(self) -> None:
        address = self.step.address
        self.begun = time.perf_counter()
        line = self.lines.get(address)
        if line is None:
            line = self.lines[address] = Line(address, self.source)
            self.crowd.selector.register(line.socket, selectors.EVENT_READ, (self, line))
        line.ask(self.step.request)

    def readable(self, line: Line) -> None:
        try:
            got = line.read()
        except OSError:
            self.forget(line)
            self.went_on(Answer(0, b""))
            return
        if got is not None:
            head, _empty, body = got.partition(b"\r\n\r\n")
            if CLOSES.search(head):
                self.forget(line)
            later = RETRY_AFTER.search(head)
            self.went_on(Answer(int(got[9:12]), body), later=int(later[1]) if later else 0)

    def forget(self, line: Line) -> None:
        self.crowd.selector.unregister(line.socket)
        line.socket.close()
        self.lines = {address: kept for address, kept in self.lines.items() if kept is not line}

    def went_on(self, answer: Answer, *, later: int = 0) -> None:
        self.crowd.note(self.step, answer, time.perf_counter() - self.begun, told_when=later > 0)
        self.step = self.life.send(answer)
        if answer.status == 503 and later:
            self.crowd.wait(self, later)
        else:
            self.go_on()

    def go_on(self) -> None:
        try:
            self.begin()
        except OSError:
            self.lines.clear()
            self.crowd.met[self.step.kind].statuses[0] += 1


class Crowd:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.selector = selectors.DefaultSelector()
        self.met: defaultdict[str, Met] = defaultdict(Met)
        self.end = time.perf_counter() + plan["seconds"]
        self.waiting: list[tuple[float, int, User]] = []
        self.waited = 0

    def run(self) -> dict[str, Any]:
        for number in range(self.plan["users"]):
            User(self, life(self.plan, number), f"127.1.{number // 200}.{1 + number % 200}")
        while time.perf_counter() < self.end:
            for key, _events in self.selector.select(timeout=0.1):
                user, line = key.data
                user.readable(line)
            while self.waiting and self.waiting[0][0] < time.perf_counter():
                heapq.heappop(self.waiting)[2].go_on()
        return {
            kind: {"ms": met.ms, "statuses": met.statuses, "late": met.late}
            for kind, met in self.met.items()
            if kind != "store"
        }

    def wait(self, user: User, seconds: int) -> None:
        self.waited += 1
        heapq.heappush(self.waiting, (time.perf_counter() + seconds, self.waited, user))

    def note(self, step: Step, answer: Answer, seconds: float, *, told_when: bool) -> None:
        met = self.met[step.kind]
        met.statuses[answer.status] += 1
        if answer.status == step.expected:
            met.ms.append(seconds * 1000)
        elif answer.status == 503 and not told_when:
            met.late += 1


# --- what one person does ---------------------------------------------------------------------


def life(plan: dict[str, Any], number: int) -> Life:
    chance = random.Random(number)
    person = plan["people"][number % len(plan["people"])]
    kinds, weights = list(plan["mix"]), list(plan["mix"].values())
    site = _address(plan["url"])
    while True:
        kind = chance.choices(kinds, weights)[0]
        if kind == "upload":
            yield from _upload(plan, person, site)
            continue
        path, expected = chance.choice(plan["paths"][kind]), 302 if kind == "redirect" else 200
        yield Step(kind, site, _request("GET", path, site, person), expected)


def _upload(plan: dict[str, Any], person: dict[str, str], site: tuple[str, int]) -> Life:
    """A file of ten kilobytes: announced, sent to the store, finished."""
    item = {"token": str(uuid.uuid4()), "name": "load.bin", "size": len(BODY), "sha256": plan["sha256"]}
    told = yield Step("start", site, _request("POST", "/uploads/", site, person, {"files": [item]}), 200)
    if told.status != 200:
        return
    (begun,) = json.loads(told.body)["files"]
    (signed,) = begun["parts"]
    parts = urlsplit(signed["url"])
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed["headers"].items())
    put = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(BODY)}\r\n"
    stored = yield Step("store", _address(signed["url"]), f"{put}{headers}\r\n".encode() + BODY, 200)
    if stored.status == 200:
        finish = {"files": [{"id": begun["id"], "sha256": [plan["sha256"]]}]}
        yield Step("finish", site, _request("POST", "/uploads/finish/", site, person, finish), 200)


def _request(method: str, path: str, site: tuple[str, int], person: dict[str, str], data: object = None) -> bytes:
    body = b"" if data is None else json.dumps(data).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{site[1]}", f"Cookie: {person['cookie']}",
             "Accept-Language: en"]  # fmt: skip
    if body:
        lines += [f"X-CSRFToken: {person['token']}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    return ("127.0.0.1" if host == "localhost" else host, parts.port or 80)


def main() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    json.dump(Crowd(json.load(sys.stdin)).run(), sys.stdout)


if __name__ == "__main__":
    main()
