"""A server for reports of content security policy violations, which every test site uses."""

from __future__ import annotations

import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Inbox:
    def __init__(self) -> None:
        self.reports: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://localhost:{self.server.server_address[1]}/reports"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def take(self) -> list[str]:
        """Return the reports since the last call, one line each."""
        reports, self.reports[:] = list(self.reports), []
        return reports

    def _handler(inbox) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["csp-report"]
                named = ("document-uri", "violated-directive", "blocked-uri", "source-file", "line-number")
                inbox.reports.append(" ".join(f"{name}={body.get(name, '')}" for name in named))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        return Handler


@functools.cache
def begin() -> Inbox:
    """Return the inbox of this test run."""
    return Inbox()
