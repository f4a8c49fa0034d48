"""A client of the upload protocol, as small as one can be: it announces, sends bytes to the bucket, and finishes.

    client = UploadClient(as_alice)
    file = client.send(b"hello")                    # all of it at once: the available File

    upload = client.start(b"hello", name="a.txt")   # or step by step: a row is reserved
    client.put(upload)                              # every part goes to the bucket itself, by signed URLs
    answer = client.finish(upload)                  # the HTTP answer; answer.json()["files"][0]
    upload.row()                                    # the row as it is now

Whatever may fail has a plain form as well: `announce`, `ask_parts` and `finish` give the raw answer and assert
nothing, and `put_bytes` sends anything to a signed URL.
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

# One pool for all tests: no retries, so that what the store says is what a test sees.
web = urllib3.PoolManager(maxsize=64, retries=False, timeout=urllib3.Timeout(connect=5, read=30))


def sha256(body: bytes) -> str:
    """The base64 SHA-256 as the protocol wants it."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def cut(body: bytes, part_size: int) -> list[bytes]:
    """The parts of a body; an empty body is one empty part."""
    return [body[start : start + part_size] for start in range(0, len(body), part_size)] or [b""]


def composite(pieces: Sequence[bytes]) -> str:
    """The checksum of an object made of these parts, computed here and not by the app's own arithmetic."""
    if len(pieces) == 1:
        return sha256(pieces[0])
    outer = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).digest()
    return f"{base64.b64encode(outer).decode()}-{len(pieces)}"


def put_bytes(
    signed: Mapping[str, Any], body: bytes, *, headers: Mapping[str, str] | None = None
) -> urllib3.BaseHTTPResponse:
    """PUT to a signed URL (`{"url", "headers"}` of an answer) what a client would; `headers` adds or replaces."""
    return web.request("PUT", signed["url"], body=body, headers={**signed["headers"], **(headers or {})})


@dataclass
class Upload:
    """One file on its way: what the app said of it, and its bytes."""

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
        """The row as it is now. Raises File.DoesNotExist once it is gone."""
        return File.objects.get(pk=self.id)


class UploadClient:
    """Speaks the protocol as the person whose test client it is given."""

    def __init__(self, client: Client) -> None:
        self.client = client

    # --- whole ways -----------------------------------------------------------------------------

    def send(self, body: bytes, **more: Any) -> File:
        """Announce, put and finish one file: its available row."""
        upload = self.start(body, **more)
        self.put(upload)
        return self.finished(upload)

    def start(self, body: bytes, **more: Any) -> Upload:
        """Reserve a row for these bytes. `more` goes into the announcement: name, folder, type, token, …"""
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
        """Signed URLs for these parts (all, if none is named), kept in `upload.signed` as well."""
        parts = [{"number": n, "sha256": upload.digests[n - 1]} for n in numbers or upload.numbers]
        response = self.request_parts(upload.id, parts)
        assert response.status_code == 200, response.content
        signed: list[dict[str, Any]] = response.json()["parts"]
        upload.signed |= {part["number"]: part for part in signed}
        return signed

    def put(self, upload: Upload, *numbers: int) -> None:
        """Send these parts (all, if none is named) to the bucket, asking for URLs where there are none."""
        part_numbers = list(numbers or upload.numbers)
        if unsigned := [n for n in part_numbers if n not in upload.signed]:
            self.sign(upload, *unsigned)
        for number in part_numbers:
            response = put_bytes(upload.signed[number], upload.pieces[number - 1])
            assert response.status == 200, response.data

    def finished(self, upload: Upload) -> File:
        """Finish, expecting success: the available row."""
        response = self.finish(upload)
        assert response.status_code == 200, response.content
        return upload.row()

    # --- single calls, whose answers are the test's to judge --------------------------------------

    def item(self, body: bytes, **more: Any) -> dict[str, Any]:
        """One entry of an announcement. The digest of a small file is in it, unless `sha256=None`."""
        item: dict[str, Any] = {
            "token": str(uuid.uuid4()), "name": "report.txt", "size": len(body), "sha256": sha256(body), **more,
        }  # fmt: skip
        return {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in item.items()}

    def announce(self, *items: Mapping[str, Any]) -> TestResponse:
        return self.post(reverse("uploads"), {"files": list(items)})

    def request_parts(self, pk: uuid.UUID, parts: Sequence[Any]) -> TestResponse:
        return self.post(reverse("sign_parts", args=[pk]), {"parts": list(parts)})

    def finish(self, *uploads: Upload, digests: Sequence[str] | None = None) -> TestResponse:
        """Finish with the true digests, or with those given for every upload."""
        files = [{"id": str(u.id), "sha256": list(u.digests if digests is None else digests)} for u in uploads]
        return self.post(reverse("finish"), {"files": files})

    def retrieve(self, upload: Upload) -> TestResponse:
        """What the app says of the upload and of its stored parts."""
        return self.client.get(reverse("upload_detail", args=[upload.id]))

    def unfinished(self) -> TestResponse:
        return self.client.get(reverse("uploads"))

    def cancel(self, upload: Upload) -> TestResponse:
        return self.client.delete(reverse("upload_detail", args=[upload.id]))

    def post(self, url: str, data: object) -> TestResponse:
        return self.client.post(url, data, content_type="application/json")
