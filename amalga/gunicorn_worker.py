"""gunicorn's threaded worker, without waiting for clients in the one thread that accepts connections.

gunicorn 27 ends a connection by waiting up to two seconds in that thread until the client closes it, too: a client that
does not would hold up all others. It also gives each new connection a thread for up to five seconds before a byte of a
request has arrived. Here both wait in the poller, which costs neither.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

LINGER_SECONDS = 2.0
MAX_LINGER_BYTES = 64 * 1024
READ_BYTES = 16 * 1024


class Worker(ThreadWorker):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lingering: deque[Any] = deque()  # connections by deadline

    def enqueue_req(self, conn: Any) -> None:
        """Give the connection a thread, a new one only once it has sent something."""
        if conn.initialized or conn.data_ready or _has_data(conn.sock):
            conn.data_ready = True
            super().enqueue_req(conn)
            return
        conn.sock.setblocking(False)
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Keep the connection, or end it once the client has read the response (RFC 9112, 9.6)."""
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._on_lingering_readable, conn))
        except (OSError, ValueError, KeyError):  # the client has gone
            self.nr_conns -= 1
            conn.close()
            return
        conn.timeout = time.monotonic() + LINGER_SECONDS
        conn.lingered_bytes = 0
        self.lingering.append(conn)

    def murder_pending(self) -> None:
        """End connections whose clients have sent nothing, or not closed their end, in time."""
        super().murder_pending()
        while self.lingering and self.lingering[0].timeout <= time.monotonic():
            self._end(self.lingering[0])

    def _on_lingering_readable(self, conn: Any, connection: socket.socket) -> None:
        """Drop what the client still sends: closing before that could take the response from it."""
        try:
            received = len(connection.recv(READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            received = 0
        conn.lingered_bytes += received
        if not received or conn.lingered_bytes > MAX_LINGER_BYTES:
            self._end(conn)

    def _end(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        self.lingering.remove(conn)
        self.nr_conns -= 1
        conn.close()


def _has_data(connection: socket.socket) -> bool:
    """Return whether a read would return at once."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
