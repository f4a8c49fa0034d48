"""Guess links at a steady rate, in a separate process: `python -m bench.sharing_guesses URL RATE SECONDS ADDRESSES`.

Prints a JSON object with the number of responses of each status. Guesses are sent on schedule, whether earlier ones
were answered or not; with more than one address, each guess comes from the next one.
"""

from __future__ import annotations

import json
import re
import resource
import secrets
import selectors
import socket
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_RESPONSES_SECONDS = 5
MAX_CONNECTIONS_PER_ADDRESS = 64


class Guesses:
    def __init__(self, port: int, addresses: int) -> None:
        self.port, self.addresses = port, addresses
        self.selector = selectors.DefaultSelector()
        self.idle: list[socket.socket] = []
        self.statuses: Counter[str] = Counter()
        self.sent = 0

    def send(self) -> None:
        """Send one guess; it counts as `dropped` if 64 guesses of one address are waiting for responses."""
        if self.addresses > 1:
            host = f"127.2.{self.sent % self.addresses // 200}.{1 + self.sent % self.addresses % 200}"
            connection, connection_header = self._open(host), "close"
        elif self.idle:
            connection, connection_header = self.idle.pop(), "keep-alive"
        elif len(self.selector.get_map()) < MAX_CONNECTIONS_PER_ADDRESS:
            connection, connection_header = self._open("127.0.0.9"), "keep-alive"
        else:
            self.statuses["dropped"] += 1
            return
        self.sent += 1
        path = f"/s/{secrets.token_urlsafe(24)}/"
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection_header}\r\n\r\n".encode()
        )

    def _open(self, host: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5, source_address=(host, 0))
        self.selector.register(connection, selectors.EVENT_READ)
        return connection

    def _close(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        connection.close()

    def receive(self, timeout: float) -> None:
        for key, _events in self.selector.select(timeout):
            connection: socket.socket = key.fileobj  # type: ignore[assignment]
            response = connection.recv(1 << 16)
            if connection in self.idle:  # the server has closed it
                self.idle.remove(connection)
                self._close(connection)
                continue
            head, _empty, body = response.partition(b"\r\n\r\n")
            length = LENGTH.search(head + b"\r\n")
            while length and len(body) < int(length[1]) and (more := connection.recv(1 << 16)):
                body += more
            self.statuses[head[9:12].decode() or "closed"] += 1
            if self.addresses > 1 or not response:
                self._close(connection)
            else:
                self.idle.append(connection)


def main() -> None:
    url, rate, seconds, addresses = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    guesses = Guesses(urlsplit(url).port or 80, addresses)
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        while (wait := started + number / rate - time.perf_counter()) > 0:
            guesses.receive(min(wait, 0.01))
        guesses.send()
        guesses.receive(0)
    elapsed = time.perf_counter() - started
    while guesses.statuses.total() < guesses.sent and time.perf_counter() < started + seconds + LAST_RESPONSES_SECONDS:
        guesses.receive(0.1)
    json.dump({"statuses": guesses.statuses, "per_second": round(guesses.sent / elapsed)}, sys.stdout)


if __name__ == "__main__":
    main()
