"""Clients that upload files to a real server and repeat unanswered requests."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from typing import Any

from django.contrib.auth.models import User

from tests.support.form_client import BOUNDARY, MULTIPART, Form, Visitor, file_head
from tests.support.upload_client import cut, put_bytes, sha256

GIVE_UP_SECONDS = 300
PAUSE_SECONDS = 0.2
CHUNK_BYTES = 256 * 1024


class SlowClient:
    """A user of a site with a slow connection: the bytes of one file take `seconds`.

    The last bytes of a form are sent after `before_end` returns.
    """

    def __init__(
        self, site: str, user: User, *, seconds: float = 0, before_end: Callable[[], object] = lambda: None
    ) -> None:
        self.visitor = Visitor(site, user).open_form()
        self.seconds = seconds
        self.before_end = before_end
        self.again = 0  # number of repeated requests

    def call(self, method: str, path: str, data: object = None) -> Any:
        """Repeat a call of the protocol until it succeeds, and return its JSON response."""
        headers = {"X-CSRFToken": self.visitor.token, "Content-Type": "application/json"}
        body = None if data is None else json.dumps(data).encode()
        response, text = self._insist(lambda: self.visitor.request(method, path, body, headers=headers))
        assert response.status in {200, 204}, text
        return json.loads(text) if text else None

    def send(self, name: str, body: bytes) -> uuid.UUID:
        """Upload a file through the protocol and return its ID."""
        item: dict[str, Any] = {"token": str(uuid.uuid4()), "name": name, "size": len(body)}
        (upload,) = self.call("POST", "/uploads/", {"files": [item]})["files"]
        pieces = cut(body, upload["part_size"])
        for number, piece in enumerate(pieces, start=1):
            time.sleep(self.seconds / len(pieces))
            self.put(upload["id"], number, piece)
        return self.finish(upload["id"], [sha256(piece) for piece in pieces])

    def put(self, pk: str, number: int, piece: bytes) -> None:
        parts = {"parts": [{"number": number, "sha256": sha256(piece)}]}
        (signed,) = self.call("POST", f"/uploads/{pk}/parts/", parts)["parts"]
        response = put_bytes(signed, piece)
        assert response.status == 200, response.data

    def finish(self, pk: str, digests: list[str]) -> uuid.UUID:
        (upload,) = self.call("POST", "/uploads/finish/", {"files": [{"id": pk, "sha256": digests}]})["files"]
        assert upload["state"] == "available", upload
        return uuid.UUID(upload["id"])

    def post(self, name: str, body: bytes) -> None:
        """Upload a file through the form without JavaScript; repeat it if there is no response."""
        form = Form([], token=self.visitor.token)
        head = form.head() + file_head(name)
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": MULTIPART, "Content-Length": str(len(head) + len(body) + len(tail))}

        def slowly() -> Iterator[bytes]:
            yield head
            chunks = cut(body, CHUNK_BYTES)
            for chunk in chunks:
                time.sleep(self.seconds / len(chunks))
                yield chunk
            self.before_end()
            yield tail

        response, page = self._insist(lambda: self.visitor.request("POST", "/upload/", slowly(), headers=headers))
        assert (response.status, b"1 of 1 stored" in page) == (200, True), page

    def _insist(self, send_request: Any) -> tuple[HTTPResponse, bytes]:
        end = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                response, text = send_request()
                if response.status not in {202, 503}:
                    return response, text
            except (OSError, HTTPException):
                if time.monotonic() > end:
                    raise
            assert time.monotonic() < end
            self.again += 1
            time.sleep(PAUSE_SECONDS)
