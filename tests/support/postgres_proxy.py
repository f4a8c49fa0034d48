"""A proxy in front of Postgres like that of RDS: TLS and cleartext password authentication, for tokens.

PostgreSQL documentation, "Frontend/Backend Protocol": Start-up, SSL Session Encryption.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
CHUNK_BYTES = 65536

Gate = Callable[[str, str], bool]


class PostgresProxy:
    """Forwards connections over TLS to a local server. `authenticates` checks user and password; that server must then
    accept connections without a password."""

    def __init__(
        self, behind: tuple[str, int], context: ssl.SSLContext | None, authenticates: Gate | None = None
    ) -> None:
        self.behind, self.context, self.authenticates = behind, context, authenticates
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:  # a rejected certificate is an OSError too
            start = _startup(near)
            while (code := struct.unpack(">i", start[4:8])[0]) in {SSL_REQUEST, GSS_REQUEST}:
                if code == SSL_REQUEST and self.context:
                    near.sendall(b"S")
                    with self.context.wrap_socket(near, server_side=True) as inside:
                        self._let_in(inside, _startup(inside))
                        return
                near.sendall(b"N")
                start = _startup(near)
            self._let_in(near, start)

    def _let_in(self, near: socket.socket, start: bytes) -> None:
        if self.authenticates and not self._check_startup(near, start, self.authenticates):
            fields = b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"
            near.sendall(b"E" + struct.pack(">i", len(fields) + 4) + fields)
            return
        with socket.create_connection(self.behind) as far:
            far.sendall(start)
            back = threading.Thread(target=_carry, args=(far, near), daemon=True)
            back.start()
            _carry(near, far)
            back.join()

    def _check_startup(self, near: socket.socket, start: bytes, authenticates: Gate) -> bool:
        words = start[8:].split(b"\0")
        parameters = dict(zip(words[::2], words[1::2], strict=False))
        near.sendall(b"R" + struct.pack(">ii", 8, 3))  # AuthenticationCleartextPassword
        _read(near, 1)
        password = _startup(near)[4:].rstrip(b"\0")
        return authenticates(parameters[b"user"].decode(), password.decode())


def _startup(near: socket.socket) -> bytes:
    """Read a message: its length, which includes itself, and its body."""
    length = _read(near, 4)
    return length + _read(near, struct.unpack(">i", length)[0] - 4)


def _read(near: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = near.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            target.sendall(data)
    for connection in (source, target):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
