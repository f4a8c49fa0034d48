"""Serves /healthz and /readyz at a separate address, from threads that no other request can use.

gunicorn assigns requests to threads in the order of arrival. While the database does not respond, all threads wait for
it, and a load balancer's health check would wait behind them, fail, and replace the process.
"""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

PATHS = {"/healthz", "/readyz"}
CLIENT_SECONDS = 5  # for a client to send its request, and to read the response
BACKLOG = 64

Application = Callable[..., Iterable[bytes]]


@functools.cache
def listener(bind: str) -> socket.socket:
    """Return the listening socket of this process and of those that it forks: `HOST:PORT` or `unix:PATH`.

    Raises ValueError for anything else, and OSError when another process has the address.
    """
    if bind.startswith("unix:"):
        path = Path(bind.removeprefix("unix:"))
        path.unlink(missing_ok=True)  # of a process that was killed
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        path.chmod(0o666)  # as gunicorn leaves its own
        server.listen(BACKLOG)
    else:
        host, _colon, port = bind.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
            raise ValueError(f"PROBE_BIND must be HOST:PORT or unix:PATH, not “{bind[:50]}”.")
        server = socket.create_server((host, int(port)), backlog=BACKLOG)
    server.setblocking(False)  # another process may have accepted the connection already
    return server


def serve(bind: str, application: Application) -> None:
    """Serve in threads of this process until it ends."""
    server = ProbeServer(listener(bind), application)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()


class ProbeServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listen_socket: socket.socket, application: Application) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listen_socket
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()
        self.set_app(only_probes(application))

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        client, _address = self.socket.accept()
        client.setblocking(True)
        return client, ("127.0.0.1", 0)  # clients of a Unix socket have none

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that disconnect early or send nothing."""


class Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, *_: Any) -> None:
        """Health checks are not logged."""

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()


def only_probes(application: Application) -> Application:
    """Return an application that passes on health checks, and responds 404 to other paths."""

    def respond(wsgi_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if wsgi_environ["PATH_INFO"] in PATHS:
            return application(wsgi_environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return [b""]

    return respond
