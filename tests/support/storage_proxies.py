"""A small HTTP proxy between the app and its storage, which can fail on demand.

    proxy.rules["complete"] = status(503, "SlowDown")   # until `del proxy.rules["complete"]`
    proxy.seen                                                # all operations of the app so far

A rule gets the request and returns the response, or None to drop the connection. It can forward the request first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3

from tests.support.http_servers import serve_in_thread
from tests.support.stores import Bucket
from uploads.s3 import client as s3_client

store = urllib3.PoolManager(maxsize=32, retries=False)


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes
    announced: int | None = None  # a false Content-Length


@dataclass(frozen=True)
class Request:
    method: str
    url: str  # of the storage itself
    headers: Mapping[str, str]
    body: bytes

    def forward(self) -> Response:
        response = store.request(self.method, self.url, headers=dict(self.headers), body=self.body)
        headers = {name: value for name, value in response.headers.items() if name.lower() not in {"date", "server"}}
        return Response(response.status, headers, response.data)

    @property
    def is_signed_url(self) -> bool:
        """Return whether a client sent it with a presigned URL (the app also requests objects by URL)."""
        return self.method == "PUT" and "X-Amz-Signature" in self.url

    @property
    def operation(self) -> str:
        query = parse_qs(urlsplit(self.url).query, keep_blank_values=True)
        if "uploadId" in query:
            return {"POST": "complete", "GET": "list", "DELETE": "abort", "PUT": "part"}[self.method]
        if "uploads" in query:
            return {"POST": "create", "GET": "ids"}[self.method]
        if "list-type" in query:
            return "listing"
        if "delete" in query:
            return "deletes"
        return self.method.lower()


Rule = Callable[[Request], Response | None]


class StorageProxy:
    def __init__(self, target: str) -> None:
        self.target = target
        self.rules: dict[str, Rule] = {}
        self.seen: list[str] = []
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def respond(self, request: Request) -> Response | None:
        self.seen.append(request.operation)
        rule = self.rules.get(request.operation) or self.rules.get("*")
        return rule(request) if rule else request.forward()

    def hang(self, request: Request) -> None:
        """Do not respond until the test is over."""
        self.closing.wait(30)

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # otherwise each body waits 40 ms for the ACK of its headers

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the client disconnected
                    super().handle()

            def handle_one(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                url = proxy.target + self.path
                request = Request(self.command, url, dict(self.headers.items()), self.rfile.read(length))
                response = proxy.respond(request)
                if response is None:
                    self.close_connection = True
                    return
                self.send_response(response.status)
                for name, value in response.headers.items():
                    if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                        self.send_header(name, value)
                if response.announced or self.command != "HEAD":
                    self.send_header("Content-Length", str(response.announced or len(response.body)))
                elif known := response.headers.get("Content-Length"):
                    self.send_header("Content-Length", known)
                self.end_headers()
                self.wfile.write(response.body)
                self.close_connection = self.close_connection or response.announced is not None

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

            def log_message(self, *args: Any) -> None:
                return

        return Handler


@contextmanager
def run_storage_proxy(target: str) -> Iterator[StorageProxy]:
    proxy = StorageProxy(target)
    with serve_in_thread(proxy.server):
        try:
            yield proxy
        finally:
            proxy.closing.set()


@contextmanager
def proxy_of_app(settings: Any, bucket: Bucket) -> Iterator[StorageProxy]:
    """Run a proxy that the app uses until the end of the block, but `bucket` does not."""
    before = settings.S3_ENDPOINT, settings.S3_ORIGIN
    with run_storage_proxy(bucket.address.endpoint) as proxy:
        settings.S3_ENDPOINT = settings.S3_ORIGIN = proxy.url
        forget_clients()
        try:
            yield proxy
        finally:
            settings.S3_ENDPOINT, settings.S3_ORIGIN = before
            forget_clients()


def forget_clients() -> None:
    """Reset the clients. Unlike `s3.reset()`, keep the session, which is slow to create."""
    s3_client.forget_clients()
    s3_client.http.cache_clear()


# --- faults -----------------------------------------------------------------------------------


def status(code: int, name: str = "", *, headers: Mapping[str, str] | None = None) -> Rule:
    """Return a rule that responds with an S3 error."""
    body = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>m</Message></Error>".encode() if name else b""
    return lambda _request: Response(code, {"Content-Type": "application/xml", **(headers or {})}, body)


def page(code: int) -> Rule:
    """Return a rule that responds with an HTML page, like a proxy or a captive portal."""
    body = b"<html><body><h1>Welcome</h1></body>"
    return lambda _request: Response(code, {"Content-Type": "text/html"}, body)


def broken(_request: Request) -> None:
    """Drop the connection before the request reaches the storage."""


def lost(request: Request) -> None:
    """Forward the request, but drop the response."""
    request.forward()


def midway(request: Request) -> Response:
    """Forward the request, but send only half of the response."""
    response = request.forward()
    return Response(
        response.status,
        response.headers,
        response.body[: len(response.body) // 2],
        announced=max(1, len(response.body)),
    )


FAULTS: dict[str, Rule] = {
    "500": status(500, "InternalError"),
    "503": status(503, "SlowDown"),
    "503 without words": status(503),
    "403": status(403, "AccessDenied"),
    "403 without words": status(403),
    "clock": status(403, "RequestTimeTooSkewed"),
    "no bucket": status(404, "NoSuchBucket"),
    "page 200": page(200),
    "page 403": page(403),
    "page 502": page(502),
    "400": status(400, "InvalidRequest"),
    "redirect": status(307, "TemporaryRedirect", headers={"Location": "http://127.0.0.1:9/"}),
    "broken": broken,
}
