"""gunicorn's worker with threads, for slow lines, and for more people than it has threads.

gunicorn gives a thread to every new connection and lets it wait there for the head, the body and the reader. Here one
loop reads until a request is whole, and only then a thread takes it. What is long by nature, a form with files or a
zip, has its own share of the threads. Whoever waited in the queue for too long is told so at once, before any work.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from amalga.metrics.counted import TURNED_AWAY
from amalga.web.arrivals import GO_ON, HEAD_END, Arrival, Lane, TooMuch, expectation, looked_at, refused, turned_away

HEAD_SECONDS = 10.0  # for the head of a request, from the connection's or its own first byte
BODY_SECONDS = 30.0  # for a body that is waited for
STALL_SECONDS = 20  # a thread waits for the next byte, or for room for one
QUEUE_SECONDS = 3.0  # of waiting for a thread; then 503
LONG_QUEUE_SECONDS = 50.0  # of a form or a zip, for a thread of theirs
RETRY_SECONDS = 5
LINGER_SECONDS = 2.0  # after the answer, so that it is not cut off by bytes that nobody read (RFC 9112, 9.6)
LINGER_BYTES = 64 * 1024
LOOK_SECONDS = 0.5
TOLD_SECONDS = 10.0
SPARE_THREADS = 2  # of each process, that nothing long may take
# Pages and scripts fit into it, however slowly they are read.
SEND_BUFFER = 512 * 1024
CHUNK = 64 * 1024
# Of what came and is not yet with Django, in one process. Above it, whoever has sent for longest makes room; what is
# small never has to, and is at most 900 times as much.
MOST_HELD = 16 * 1024 * 1024
SMALL = 16 * 1024


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection, and what came through it that no thread has seen."""

    held = 0  # bytes of `got` that the worker has counted
    has_head = False
    until = float("inf")
    queued_at = 0.0
    linger_left = LINGER_BYTES
    arrival: Arrival | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.got = bytearray()

    @property
    def is_idle(self) -> bool:
        return not self.got


class Worker(ThreadWorker):  # type: ignore[misc]
    """One loop that reads, threads that answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reading: set[Connection] = set()
        self.lingering: set[Connection] = set()
        self.long_waiting: deque[Connection] = deque()
        self.long_running = 0
        self.most_long = max(1, self.cfg.threads - SPARE_THREADS)
        # Apart, so that nobody thinks us dead while the database is silent.
        self.probes = {lane: ThreadPoolExecutor(max_workers=1) for lane in (Lane.ALIVE, Lane.READY)}
        self.next_look = self.next_word = 0.0
        self.turned_away = self.held = 0

    # --- reading ------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as fault:
            if fault.errno in {errno.EMFILE, errno.ENFILE}:
                time.sleep(LOOK_SECONDS / 10)  # until somebody leaves
            elif fault.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        stall = struct.pack("ll", STALL_SECONDS, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stall)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        conn = Connection(self.cfg, client, address, listener.getsockname())
        self._read_on(conn, seconds=HEAD_SECONDS)

    def _read_on(self, conn: Connection, *, seconds: float) -> None:
        conn.until = time.monotonic() + seconds
        conn.sock.setblocking(False)
        self.reading.add(conn)
        self.poller.register(conn.sock, 1, partial(self._on_bytes, conn))

    def _on_bytes(self, conn: Connection, _socket: Any) -> None:
        try:
            got = conn.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if not got:
            self._stop_reading(conn)
            self._close(conn)
            return
        if conn.is_idle:
            conn.until = time.monotonic() + HEAD_SECONDS
        conn.got += got
        self._count(conn)
        self._look(conn)
        while self.held > MOST_HELD and (large := [conn for conn in self.reading if conn.held > SMALL]):
            slowest = min(large, key=lambda conn: conn.until)
            self._stop_reading(slowest)
            self._turn_away(slowest)

    def _count(self, conn: Connection) -> None:
        self.held += len(conn.got) - conn.held
        conn.held = len(conn.got)

    def _look(self, conn: Connection) -> None:
        try:
            arrival = looked_at(conn.got)
        except TooMuch:
            self._stop_reading(conn)
            self._leave(conn, refused(b"431 Request Header Fields Too Large"))
            return
        if arrival is not None:
            self._stop_reading(conn)
            conn.arrival = arrival
            self._enqueue(conn)
        elif not conn.has_head and HEAD_END in conn.got:
            conn.has_head, conn.until = True, time.monotonic() + BODY_SECONDS
            self._bid_go_on(conn)

    def _bid_go_on(self, conn: Connection) -> None:
        """A body whose sender waits for a word is waited for like any other, without a thread."""
        if where := expectation(conn.got):
            del conn.got[where]
            self._send(conn, GO_ON)

    def _stop_reading(self, conn: Connection) -> None:
        self.reading.discard(conn)
        self.poller.unregister(conn.sock)

    # --- threads ------------------------------------------------------------------------------

    def _enqueue(self, conn: Connection) -> None:
        if conn.arrival and conn.arrival.lane is Lane.LONG:
            if self.long_running >= self.most_long:
                conn.until = time.monotonic() + LONG_QUEUE_SECONDS
                self.long_waiting.append(conn)
                return
            self.long_running += 1
        self.enqueue_req(conn)

    def enqueue_req(self, conn: Connection) -> None:
        conn.queued_at = time.monotonic()
        pool = (self.probes.get(conn.arrival.lane) if conn.arrival else None) or self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle(self, conn: Connection) -> bool:
        """In a thread: answer the request that came. Whether the connection may be used for another one."""
        if conn.arrival and conn.arrival.lane is Lane.QUICK and time.monotonic() - conn.queued_at > QUEUE_SECONDS:
            self.turned_away += 1
            TURNED_AWAY.inc()
            self._send(conn, self._too_many(conn))
            return False
        conn.init()
        conn.parser.unreader.unread(conn.got)
        conn.got = bytearray()
        return bool(super().handle(conn))

    def handle_request(self, req: Any, conn: Connection) -> bool:
        try:
            return bool(super().handle_request(req, conn))
        except BlockingIOError:
            # no byte moved for too long
            raise StopIteration("stalled") from None

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """A body that was not here as a whole and that nobody read to its end is not waited for."""
        if conn.arrival and conn.arrival.whole:
            return bool(super()._keepalive_after(conn, keepalive))
        return False

    def finish_request(self, conn: Connection, done: Future[bool]) -> None:
        if conn.arrival and conn.arrival.lane is Lane.LONG:
            self.long_running -= 1
            if self.long_waiting:
                self._enqueue(self.long_waiting.popleft())
        conn.arrival, conn.has_head = None, False
        if done.cancelled() or done.exception() or not done.result():
            self._linger(conn)
            return
        conn.got = bytearray(conn.parser.unreader.take_buffered())
        self._count(conn)
        idle = self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER
        self._read_on(conn, seconds=HEAD_SECONDS if conn.got else idle)
        if conn.got:
            self._look(conn)

    # --- endings ------------------------------------------------------------------------------

    def murder_pending(self) -> None:
        """Called in every round of the loop; looks now and then who has taken too long."""
        now = time.monotonic()
        if now < self.next_look:
            return
        self.next_look = now + LOOK_SECONDS
        for conn in [conn for conn in self.reading if conn.until < now]:
            self._stop_reading(conn)
            if conn.is_idle:
                self._close(conn)
            else:
                self._leave(conn, refused(b"408 Request Timeout"))
        for conn in [conn for conn in self.lingering if conn.until < now]:
            self._end_linger(conn)
        while self.long_waiting and self.long_waiting[0].until < now:
            self._turn_away(self.long_waiting.popleft())
        self._say(now)

    def murder_keepalived(self, force: bool = False) -> None:
        """Idle connections are among those that are read; at the end of the process all of them go."""
        if force:
            for conn in [*self.reading, *self.lingering]:
                util.close(conn.sock)
            for probes in self.probes.values():
                probes.shutdown(wait=False)

    def _cap_keepalive(self, deadline: float) -> None:
        """The process stops: nobody waits for connections that ask nothing."""
        for conn in self.reading:
            if conn.is_idle:
                conn.until = min(conn.until, deadline)

    def _say(self, now: float) -> None:
        if self.turned_away and now > self.next_word:
            self.log.warning("overload turned_away=%d", self.turned_away)
            self.turned_away, self.next_word = 0, now + TOLD_SECONDS

    def _too_many(self, conn: Connection) -> bytes:
        return turned_away(seconds=RETRY_SECONDS, protocol=b" /uploads/" in conn.got[:32])

    def _turn_away(self, conn: Connection) -> None:
        self.turned_away += 1
        TURNED_AWAY.inc()
        self._leave(conn, self._too_many(conn))

    def _leave(self, conn: Connection, answer: bytes) -> None:
        self._send(conn, answer)
        self._linger(conn)

    def _send(self, conn: Connection, answer: bytes) -> None:
        """Nobody waits for it to be read: it fits into the kernel's buffer."""
        try:
            conn.sock.setblocking(False)
            conn.sock.send(answer)
        except OSError:
            pass

    def _linger(self, conn: Connection) -> None:
        """Say that nothing more comes, and wait for the other side to close, without a thread."""
        conn.until = time.monotonic() + LINGER_SECONDS
        conn.got = bytearray()
        self._count(conn)
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, 1, partial(self._drain, conn))
        except (OSError, ValueError, KeyError):
            self._close(conn)
            return
        self.lingering.add(conn)

    def _drain(self, conn: Connection, _socket: Any) -> None:
        try:
            got = conn.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        conn.linger_left -= len(got)
        if not got or conn.linger_left < 0:
            self._end_linger(conn)

    def _end_linger(self, conn: Connection) -> None:
        self.lingering.discard(conn)
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        self.held -= conn.held
        conn.close()
