"""A TLS proxy like a production load balancer: it terminates TLS and sets X-Forwarded-Proto itself, regardless of the
client's headers. It also accepts plain HTTP on the same port.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.certificate_authority import CertificateAuthority
from tests.support.http_servers import serve_in_thread

TLS_BEGINS = b"\x16"  # a handshake record (RFC 8446, section 5.1)
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "x-forwarded-proto", "date", "server"}
TIMEOUT_SECONDS = 20


class TlsProxy:
    def __init__(self, authority: CertificateAuthority, behind: str = "") -> None:
        self.behind = behind
        self.context = authority.server("localhost")
        self.server = Server(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.address = f"localhost:{self.server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    def forward(self, handler: BaseHTTPRequestHandler) -> tuple[http.client.HTTPResponse, bytes]:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        far = http.client.HTTPConnection(urlsplit(self.behind).netloc, timeout=TIMEOUT_SECONDS)
        with contextlib.closing(far):
            far.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    far.putheader(name, value)
            scheme = "https" if isinstance(handler.connection, ssl.SSLSocket) else "http"
            far.putheader("X-Forwarded-Proto", scheme)
            if body is not None or handler.command in {"POST", "PUT"}:
                far.putheader("Content-Length", str(length))
            far.endheaders(body)
            response = far.getresponse()
            return response, response.read()

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                self.request.settimeout(TIMEOUT_SECONDS)
                if self.request.recv(1, socket.MSG_PEEK) == TLS_BEGINS:
                    self.request = proxy.context.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self) -> None:
                super().finish()
                self.request.close()  # the server does not close a wrapped socket

            def pass_on(self) -> None:
                response, body = proxy.forward(self)
                self.send_response_only(response.status)
                for name, value in response.getheaders():  # keeps separate Set-Cookie headers
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                length = len(body) if self.command != "HEAD" else response.headers.get("Content-Length", "0")
                if response.status not in {204, 304}:
                    self.send_header("Content-Length", str(length))
                self.send_header("Connection", "close")  # so that none is open at the end of the test
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = pass_on  # noqa: N815

            def log_message(self, *args: Any) -> None:
                return

        return Handler


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # browsers open many connections; those over the limit would wait for seconds

    def handle_error(self, request: Any, client_ip: Any) -> None:
        """Ignore disconnecting browsers."""


@contextlib.contextmanager
def run_tls_proxy(authority: CertificateAuthority, behind: str = "") -> Iterator[TlsProxy]:
    """Run the proxy. `behind` can also be set later: `proxy.behind = url`."""
    proxy = TlsProxy(authority, behind)
    with serve_in_thread(proxy.server):
        yield proxy
