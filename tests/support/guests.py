"""Guests of file requests: create a request, and upload through its link."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.support.upload_client import Upload, UploadClient
from uploads.models import FileRequest, Folder
from uploads.services import file_requests

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as TestResponse

LIMITS: dict[str, Any] = {"max_file_bytes": 10**9, "max_files": 1000, "max_bytes": 10**10}


def create_request(folder: Folder, maker: User, **fields: Any) -> tuple[FileRequest, str]:
    """Create a file request that is open for a week, and return it with its token."""
    return file_requests.create(folder, by=maker, **{"days": 7, "title": "Photos", **LIMITS, **fields})


class GuestClient(UploadClient):
    """Uploads as a guest, with a separate session."""

    def __init__(self, token: str, client: Client | None = None, **details: str) -> None:
        super().__init__(client or Client())
        self.token = token
        self.details = details

    @property
    def page_url(self) -> str:
        return reverse("guest_upload", args=[self.token])

    def open_page(self) -> TestResponse:
        return self.client.get(self.page_url)

    def announce(self, *items: Mapping[str, Any]) -> TestResponse:
        details = {"guest": self.details} if self.details else {}
        return self.post(reverse("guest_uploads", args=[self.token]), {"files": list(items), **details})

    def request_parts(self, pk: uuid.UUID, parts: Sequence[Any]) -> TestResponse:
        return self.post(reverse("guest_sign_parts", args=[self.token, pk]), {"parts": list(parts)})

    def finish(self, *uploads: Upload, digests: Sequence[str] | None = None) -> TestResponse:
        files = [{"id": str(u.id), "sha256": list(u.digests if digests is None else digests)} for u in uploads]
        return self.post(reverse("guest_finish", args=[self.token]), {"files": files})

    def retrieve(self, upload: Upload) -> TestResponse:
        return self.client.get(reverse("guest_upload_detail", args=[self.token, upload.id]))

    def unfinished(self) -> TestResponse:
        return self.client.get(reverse("guest_uploads", args=[self.token]))

    def cancel(self, upload: Upload) -> TestResponse:
        return self.client.delete(reverse("guest_upload_detail", args=[self.token, upload.id]))
