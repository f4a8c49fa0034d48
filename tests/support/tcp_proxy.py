"""A TCP proxy that can fail like a network."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal

Mode = Literal["pass", "refuse", "hang", "reset"]
CHUNK_BYTES = 65536
CUT_SECONDS = 2


class Proxy:
    """A proxy in front of one server.

    `pass` forwards everything. `refuse` closes the port and all connections. `hang` keeps connections open, accepts
    bytes and never responds. `reset` resets every connection.
    """

    def __init__(self, host: str, port: int) -> None:
        self.behind = (host, port)
        self.mode: Mode = "pass"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.sockets: set[socket.socket] = set()
        self.carriers: set[threading.Thread] = set()
        self.lock = threading.Lock()
        self.closed = False
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    @contextlib.contextmanager
    def in_mode(self, mode: Mode) -> Iterator[None]:
        """Use this mode in the block, then pass again."""
        self._become(mode)
        try:
            yield
        finally:
            self._become("pass")

    def close(self) -> None:
        self.closed = True
        _shut(self.listener)
        self._cut()

    def _become(self, mode: Mode) -> None:
        before, self.mode = self.mode, mode
        if mode == "refuse":
            _shut(self.listener)
        elif before == "refuse":
            self.listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        if mode in {"refuse", "reset"} or before == "hang":
            self._cut()  # bytes swallowed in this mode are lost

    def _cut(self) -> None:
        with self.lock:
            sockets, self.sockets = self.sockets, set()
            carriers, self.carriers = self.carriers, set()
        for connection in sockets:
            _reset(connection)
        for carrier in carriers:
            carrier.join(CUT_SECONDS)  # the kernel resets a connection only if no thread reads from it

    def _accept(self, listener: socket.socket) -> None:
        while not self.closed:
            try:
                near, _address = listener.accept()
            except OSError:
                return
            if self.mode == "reset":
                _reset(near)
                continue
            try:
                far = socket.create_connection(self.behind, timeout=5)
            except OSError:
                _reset(near)
                continue
            far.settimeout(None)
            with self.lock:
                self.sockets |= {near, far}
            for source, target in ((near, far), (far, near)):
                carrier = threading.Thread(target=self._carry, args=(source, target), daemon=True)
                with self.lock:
                    self.carriers.add(carrier)
                    carrier.start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                if self.mode == "hang":
                    continue  # discard the bytes
                target.sendall(data)
        except OSError:
            pass
        if self.mode != "hang":
            for connection in (source, target):
                _shut(connection)
                with self.lock:
                    self.sockets.discard(connection)
        with self.lock:
            self.carriers.discard(threading.current_thread())


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN (RFC 9293; linger of zero seconds)."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # close() alone leaves a thread of ours inside recv()
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
    connection.close()
