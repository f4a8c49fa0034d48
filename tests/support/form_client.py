"""The forms for uploads and bulk actions as a browser without JavaScript submits them, to Django's test client or to a
real server."""

from __future__ import annotations

import http.client
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client

from uploads.models import File, Folder

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as TestResponse

BOUNDARY = "----WebKitFormBoundaryAmalgaTests0"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Chosen:
    """A chosen file; `type` is the type that the browser declares."""

    name: str
    body: bytes = b"hello"
    type: str = "application/octet-stream"


@dataclass
class Form:
    """A filled form. `submission` is the hidden field that names this copy of the page."""

    files: Sequence[Chosen]
    submission: str = field(default_factory=lambda: str(uuid.uuid4()))
    private: bool = False
    token: str = ""
    same_name: str = ""

    def head(self) -> bytes:
        fields = {"csrfmiddlewaretoken": self.token, "submission": self.submission}
        fields |= {"private": "on"} if self.private else {}
        fields |= {"same_name": self.same_name} if self.same_name else {}
        return b"".join(_field(name, value) for name, value in fields.items())

    def body(self) -> bytes:
        return self.head() + b"".join(_file(chosen) for chosen in self.files) + _end()


def _field(name: str, value: str) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def _file(chosen: Chosen) -> bytes:
    return file_head(chosen.name, chosen.type) + chosen.body + b"\r\n"


def file_head(name: str, content_type: str = "application/octet-stream") -> bytes:
    """Return the part headers of a file. Browsers escape three characters of a name
    (WHATWG HTML, "multipart/form-data encoding algorithm")."""
    escaped = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{escaped}"\r\n'
    return (head + f"Content-Type: {content_type}\r\n\r\n").encode("utf-8", "surrogatepass")


def _end() -> bytes:
    return f"--{BOUNDARY}--\r\n".encode()


def post(
    client: Client, *files: Chosen, submission: str = "", private: bool = False, same_name: str = ""
) -> TestResponse:
    """Send these files to the form by Django's test client."""
    form = Form(files, submission or str(uuid.uuid4()), private, same_name=same_name)
    return client.post("/upload/", data=form.body(), content_type=MULTIPART)


def send(client: Client, *files: Chosen, submission: str = "", private: bool = False) -> list[File]:
    """Like `post`, but assert success and return the new rows, oldest first."""
    before = set(File.objects.values_list("pk", flat=True))
    response = post(client, *files, submission=submission, private=private)
    assert response.status_code == 200, response.content
    return list(File.objects.exclude(pk__in=before).order_by("available_at", "created_at"))


def words_of(page: bytes) -> str:
    """Return the visible text of a page."""
    return " ".join(unescape(re.sub(rb"<[^>]+>", b" ", page).decode()).split())


def was_read(response: TestResponse) -> bool:
    """Return whether the request body was read before the response."""
    return bool(getattr(response.wsgi_request, "_read_started"))  # noqa: B009 - Django has no public API for it


# --- a real server ------------------------------------------------------------------------------


class Visitor:
    """A person's browser at a real server: cookies, CSRF token and requests, without redirects."""

    def __init__(self, site: str, user: User | None = None) -> None:
        self.address = (str(urlsplit(site).hostname), urlsplit(site).port or 80)
        self.cookies: dict[str, str] = {}
        self.token = ""
        if user is not None:
            client = Client()
            client.force_login(user)
            self.cookies[settings.SESSION_COOKIE_NAME] = client.cookies[settings.SESSION_COOKIE_NAME].value

    def open_form(self) -> Visitor:
        """Load the upload page, as a browser has to: the CSRF cookie and the token in the form."""
        response, page = self.request("GET", "/upload/")
        assert response.status == 200, page
        match = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert match
        self.token = match[1].decode()
        return self

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        headers: dict[str, str] | None = None,
        seconds: float = 60,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=seconds)
        try:
            connection.request(method, path, body=body, headers=self.headers() | (headers or {}))
            response = connection.getresponse()
            for cookie in response.headers.get_all("Set-Cookie") or []:
                name, _, value = cookie.partition("=")
                self.cookies[name] = value.partition(";")[0]
            return response, response.read()
        finally:
            connection.close()

    def headers(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Cookie": cookies} if cookies else {}

    def post(self, *files: Chosen, submission: str = "") -> tuple[http.client.HTTPResponse, bytes]:
        form = Form(files, submission or str(uuid.uuid4()), token=self.token)
        return self.request("POST", "/upload/", form.body(), headers={"Content-Type": MULTIPART})

    def post_stream(self, name: str, chunks: Iterator[bytes], *, size: int) -> tuple[http.client.HTTPResponse, bytes]:
        """Send one large file of `size` bytes without holding it in memory."""
        head = Form([], token=self.token).head() + file_head(name)
        tail = b"\r\n" + _end()

        def body() -> Iterator[bytes]:
            yield head
            yield from chunks
            yield tail

        headers = {"Content-Type": MULTIPART, "Content-Length": str(len(head) + size + len(tail))}
        return self.request("POST", "/upload/", body(), headers=headers)

    def request_head(self, path: str, *, length: int | None, more: Sequence[str] = ()) -> bytes:
        """Return the request headers of a form POST, for tests that write to the socket."""
        lines = [f"POST {path} HTTP/1.1", f"Host: localhost:{self.address[1]}", f"Content-Type: {MULTIPART}", *more]
        lines += [f"{name}: {value}" for name, value in self.headers().items()]
        lines += [f"Content-Length: {length}"] if length is not None else []
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post_bulk(client: Client, do: str, selected: Sequence[File | Folder], **data: Any) -> Any:
    """Submit the form of the bulk action `do` for these files and folders."""
    chosen = {
        "file": [str(row.permanent_id) for row in selected if isinstance(row, File)],
        "folders": [row.pk for row in selected if isinstance(row, Folder)],
    }
    return client.post("/files/bulk", {"do": do, **chosen, **data})


def messages_of(response: Any) -> list[str]:
    """Return the texts that the next page shows above its content."""
    return [str(message) for message in get_messages(response.wsgi_request)]
