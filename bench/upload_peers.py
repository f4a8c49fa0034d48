"""The peers of the upload page in a browser: plain PUTs, parts with checksums, and Uppy.

They run on a page of their own, whose scripts are bundled from npm with the versions of `bench/uppy/package-lock.json`.
The page gets its presigned URLs from a small server here, so that none of the peers pays for a database.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import unescape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import boto3
from botocore.config import Config
from playwright.sync_api import BrowserContext

SOURCES = Path(__file__).parent / "uppy"
PREFIX = "bench/"
URL_SECONDS = 3600
PUT = "browser PUT, no checksums"
PARTS = "bare parts with checksums"
UPPY = "Uppy, defaults"
UPPY_BEST = "Uppy, 64 MiB parts"
UPPY_BEST_BYTES = 64 * 1024**2
PAGE = b'<!doctype html><title>peers</title><input type="file" multiple><script src="/peers.js"></script>'
CREATED = "<InitiateMultipartUploadResult><UploadId>{uploadId}</UploadId></InitiateMultipartUploadResult>"
COMPLETED = "<CompleteMultipartUploadResult><Location>/</Location><Key>{key}</Key></CompleteMultipartUploadResult>"


def storage_client() -> Any:
    return boto3.client(
        "s3",
        endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"],
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def bundle(folder: Path) -> bytes:
    """Install the pinned packages in `folder` and return one script with all of them.

    Raises RuntimeError without npm, and CalledProcessError if the registry cannot be reached.
    """
    if not shutil.which("npm"):
        raise RuntimeError("Uppy is bundled with npm: install Node.js 20 or newer")
    for name in ("package.json", "package-lock.json", "peers.js"):
        shutil.copy(SOURCES / name, folder)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    target = folder / "bundle.js"
    command = ["node", "node_modules/esbuild/bin/esbuild", "peers.js", "--bundle", "--minify", "--log-level=warning"]
    subprocess.run([*command, "--format=iife", "--global-name=peers", f"--outfile={target}"], cwd=folder, check=True)
    return target.read_bytes()


class Handler(BaseHTTPRequestHandler):
    """Serves the page, and presigns what it asks for."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[bytes]
    client: ClassVar[Any]
    bucket: ClassVar[str]

    def do_GET(self) -> None:
        if self.path == "/peers.js":
            self._respond(self.script, "text/javascript")
        else:
            self._respond(PAGE, "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        if path == "/uppy":
            self._respond(self._uppy(dict(parse_qsl(query)), body.decode()).encode(), "application/xml")
            return
        payload = json.loads(body)
        views: dict[str, Callable[[Any], dict[str, Any]]] = {
            "/sign": self._sign,
            "/create": self._create,
            "/complete": self._complete,
        }
        self._respond(json.dumps(views[self.path](payload)).encode(), "application/json")

    def _sign(self, requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"urls": [self._presign(**request) for request in requests]}

    def _presign(self, operation: str, key: str, uploadId: str = "", partNumber: int = 0) -> str:  # noqa: N803 (JSON)
        parameters: dict[str, Any] = {"Bucket": self.bucket, "Key": key}
        if uploadId:
            parameters["UploadId"] = uploadId
        if partNumber:
            parameters["PartNumber"] = partNumber
        url: str = self.client.generate_presigned_url(operation, Params=parameters, ExpiresIn=URL_SECONDS)
        return url

    def _uppy(self, payload: dict[str, Any], body: str) -> str:
        """Create or complete a multipart upload, as S3 does for a request of Uppy."""
        if not payload.get("uploadId"):
            return CREATED.format_map(self._create(payload))
        self._complete({**payload, "etags": re.findall("<ETag>(.*?)</ETag>", unescape(body))})
        return COMPLETED.format_map(payload)

    def _create(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"uploadId": self.client.create_multipart_upload(Bucket=self.bucket, Key=payload["key"])["UploadId"]}

    def _complete(self, payload: dict[str, Any]) -> dict[str, Any]:
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(payload["etags"], start=1)]
        self.client.complete_multipart_upload(
            Bucket=self.bucket, Key=payload["key"], UploadId=payload["uploadId"], MultipartUpload={"Parts": parts}
        )
        return {}

    def _respond(self, body: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: requests are part of what is measured."""


@contextmanager
def serving_peers(folder: Path) -> Iterator[str]:
    """Serve the page of the peers and yield its URL."""
    Handler.script = bundle(folder)
    Handler.client = storage_client()
    Handler.bucket = os.environ["AWS_STORAGE_BUCKET_NAME"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()


def browser_peers(context: BrowserContext, url: str, part_bytes: int) -> dict[str, Callable[[Sequence[Path]], None]]:
    """Return the clients by name. Each uploads files from the page at `url`."""

    def client(call: str) -> Callable[[Sequence[Path]], None]:
        def upload(files: Sequence[Path]) -> None:
            page = context.new_page()
            page.goto(url)
            page.locator("input").set_input_files([str(path) for path in files])
            page.evaluate(f"() => {{ const files = [...document.querySelector('input').files]; return peers.{call}; }}")
            page.close()

        return upload

    return {
        PUT: client("putFiles(files)"),
        PARTS: client(f"putParts(files, {part_bytes})"),
        UPPY: client("uploadWithUppy(files)"),
        UPPY_BEST: client(f"uploadWithUppy(files, {UPPY_BEST_BYTES})"),
    }


def delete_uploads() -> None:
    """Delete what the peers have stored."""
    client, bucket = storage_client(), os.environ["AWS_STORAGE_BUCKET_NAME"]
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX):
        keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
