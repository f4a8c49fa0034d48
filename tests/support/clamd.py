"""A fake clamd that supports INSTREAM (clamd(8)) and can fail like the real one.

with FakeClamd() as clamd:
    settings.MALWARE_SCANNER = clamd.address
    clamd.mode = "hang"
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

Mode = Literal["work", "hang", "garbage", "disconnect", "error", "blind"]
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
COMMAND = b"zINSTREAM\0"


class FakeClamd:
    """Listens on a port, or on a Unix socket at `path`. `max_bytes` is its StreamMaxLength.

    `work` replies. `hang` reads everything and never replies. `garbage` sends an invalid reply, `disconnect` closes the
    connection during a stream, `error` replies with an error, `blind` reports every stream as clean.
    """

    def __init__(self, *, path: Path | None = None, max_bytes: int = 25 * 1024**2) -> None:
        self.mode: Mode = "work"
        self.max_bytes = max_bytes
        self.streams: list[bytes] = []  # complete streams only
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(str(path) if path else ("127.0.0.1", 0))
        self._listener.listen()
        self.address = str(path) if path else f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if _read(connection, len(COMMAND)) != COMMAND:
                connection.sendall(b"UNKNOWN COMMAND\0")
                return
            reply = self._stream(connection)
            if reply is not None:
                connection.sendall(reply + b"\0")
            elif self.mode == "hang":
                connection.recv(1)  # until the client disconnects

    def _stream(self, connection: socket.socket) -> bytes | None:
        body = b""
        while size := struct.unpack(">I", _read(connection, 4))[0]:
            if self.mode == "disconnect":
                return None
            if len(body) + size > self.max_bytes:
                return b"INSTREAM size limit exceeded. ERROR"
            body += _read(connection, size)
        self.streams.append(body)
        replies = {"garbage": b"\xff\xfe what", "error": b"stream: Can't allocate memory ERROR", "hang": None}
        if self.mode in replies:
            return replies[self.mode]
        is_infected = EICAR in body and self.mode != "blind"
        return b"stream: Win.Test.EICAR_HDB-1 FOUND" if is_infected else b"stream: OK"


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise OSError("disconnected")
        data += part
    return data
