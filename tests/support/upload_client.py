"""A minimal client of the upload protocol: it creates uploads, sends parts to the bucket, and finishes.

    client = UploadClient(as_alice)
    file = client.send(b"hello")                    # all steps: returns the available File

    upload = client.start(b"hello", name="a.txt")   # or step by step: create the upload
    client.put(upload)                              # send all parts to the bucket by presigned URLs
    answer = client.finish(upload)                  # the HTTP response; answer.json()["files"][0]
    upload.row()                                    # the current row

To test failures, `announce`, `request_parts` and `finish` return the raw response and assert nothing, and
`put_bytes` sends anything to a presigned URL.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import urllib3
from django.test import Client
from django.urls import reverse

from uploads.models import File

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as TestResponse

# One pool for all tests, without retries, so that tests see every response of the storage.
web = urllib3.PoolManager(maxsize=64, retries=False, timeout=urllib3.Timeout(connect=5, read=30))


def sha256(body: bytes) -> str:
    """Return the SHA-256 in base64, as in the protocol."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def cut(body: bytes, part_size: int) -> list[bytes]:
    """Return the parts of a body; an empty body has one empty part."""
    return [body[start : start + part_size] for start in range(0, len(body), part_size)] or [b""]


def composite(pieces: Sequence[bytes]) -> str:
    """Return the checksum of an object with these parts, computed independently of the app."""
    if len(pieces) == 1:
        return sha256(pieces[0])
    outer = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).digest()
    return f"{base64.b64encode(outer).decode()}-{len(pieces)}"


def put_bytes(
    signed: Mapping[str, Any], body: bytes, *, headers: Mapping[str, str] | None = None
) -> urllib3.BaseHTTPResponse:
    """PUT a body to a presigned URL (`{"url", "headers"}` of a response); `headers` adds or replaces headers."""
    return web.request("PUT", signed["url"], body=body, headers={**signed["headers"], **(headers or {})})


@dataclass
class Upload:
    """An upload in progress: the response of the app, and the bytes."""

    id: uuid.UUID
    token: uuid.UUID
    body: bytes
    part_size: int
    part_count: int
    state: str
    signed: dict[int, dict[str, Any]] = field(default_factory=dict)  # URLs by part number, as last signed

    @property
    def pieces(self) -> list[bytes]:
        return cut(self.body, self.part_size)

    @property
    def digests(self) -> list[str]:
        return [sha256(piece) for piece in self.pieces]

    @property
    def numbers(self) -> range:
        return range(1, self.part_count + 1)

    def row(self) -> File:
        """Return the current row. Raises File.DoesNotExist once it is deleted."""
        return File.objects.get(pk=self.id)


class UploadClient:
    """Uploads as the person who is signed in to the test client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    # --- all steps ------------------------------------------------------------------------------

    def send(self, body: bytes, **more: Any) -> File:
        """Create an upload, send its parts and finish it. Return the available row."""
        upload = self.start(body, **more)
        self.put(upload)
        return self.finished(upload)

    def start(self, body: bytes, **more: Any) -> Upload:
        """Create an upload for these bytes. `more` is added to the request: name, folder, type, token, …"""
        item = self.item(body, **more)
        response = self.announce(item)
        assert response.status_code == 200, response.content
        (started,) = response.json()["files"]
        signed = {part["number"]: part for part in started.get("parts", [])}
        return Upload(
            uuid.UUID(started["id"]), uuid.UUID(started["token"]), body, started["part_size"], started["part_count"],
            started["state"], signed,
        )  # fmt: skip

    def sign(self, upload: Upload, *numbers: int) -> list[dict[str, Any]]:
        """Return presigned URLs for these parts (by default all), and save them in `upload.signed`."""
        parts = [{"number": n, "sha256": upload.digests[n - 1]} for n in numbers or upload.numbers]
        response = self.request_parts(upload.id, parts)
        assert response.status_code == 200, response.content
        signed: list[dict[str, Any]] = response.json()["parts"]
        upload.signed |= {part["number"]: part for part in signed}
        return signed

    def put(self, upload: Upload, *numbers: int) -> None:
        """Send these parts (by default all) to the bucket, and request missing URLs first."""
        part_numbers = list(numbers or upload.numbers)
        if unsigned := [n for n in part_numbers if n not in upload.signed]:
            self.sign(upload, *unsigned)
        for number in part_numbers:
            response = put_bytes(upload.signed[number], upload.pieces[number - 1])
            assert response.status == 200, response.data

    def finished(self, upload: Upload) -> File:
        """Finish, assert success, and return the available row."""
        response = self.finish(upload)
        assert response.status_code == 200, response.content
        return upload.row()

    # --- single calls, without assertions ---------------------------------------------------------

    def item(self, body: bytes, **more: Any) -> dict[str, Any]:
        """Return one entry of a create request, with the checksum of a small file unless `sha256=None`."""
        item: dict[str, Any] = {
            "token": str(uuid.uuid4()), "name": "report.txt", "size": len(body), "sha256": sha256(body), **more,
        }  # fmt: skip
        return {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in item.items()}

    def announce(self, *items: Mapping[str, Any]) -> TestResponse:
        return self.post(reverse("uploads"), {"files": list(items)})

    def request_parts(self, pk: uuid.UUID, parts: Sequence[Any]) -> TestResponse:
        return self.post(reverse("sign_parts", args=[pk]), {"parts": list(parts)})

    def finish(self, *uploads: Upload, digests: Sequence[str] | None = None) -> TestResponse:
        """Finish with the correct checksums, or with these for every upload."""
        files = [{"id": str(u.id), "sha256": list(u.digests if digests is None else digests)} for u in uploads]
        return self.post(reverse("finish"), {"files": files})

    def retrieve(self, upload: Upload) -> TestResponse:
        """Request the state of the upload and of its stored parts."""
        return self.client.get(reverse("upload_detail", args=[upload.id]))

    def unfinished(self) -> TestResponse:
        return self.client.get(reverse("uploads"))

    def cancel(self, upload: Upload) -> TestResponse:
        return self.client.delete(reverse("upload_detail", args=[upload.id]))

    def post(self, url: str, data: object) -> TestResponse:
        return self.client.post(url, data, content_type="application/json")
