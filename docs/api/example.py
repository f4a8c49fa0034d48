"""Upload a file with the API, with Python's standard library alone.

Usage: example.py URL USER FILE [FOLDER]     The password is read from AMALGA_PASSWORD, or typed.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

MAX_BATCH = 100  # parts that one request can sign


class Client:
    """A session of one person."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def sign_in(self, user: str, password: str) -> None:
        page = f"{self.url}/accounts/login/"
        self.opener.open(page).close()  # sets the CSRF cookie
        form = {"username": user, "password": password, "csrfmiddlewaretoken": self._csrf_token()}
        request = urllib.request.Request(page, urllib.parse.urlencode(form).encode(), {"Referer": page})
        with self.opener.open(request) as response:
            if response.url == page:
                raise SystemExit("Incorrect user name or password, or the account uses two-factor authentication.")

    def upload(self, path: Path, folder: str = "") -> dict[str, Any]:
        """Upload a file, and return what the API says of it. Repeat it after an error: nothing is sent twice."""
        new = {"token": str(uuid.uuid4()), "name": path.name, "size": path.stat().st_size, "folder": folder}
        (file,) = self.post("/uploads/", {"files": [new]})["files"]
        checksums = [checksum(part) for part in parts(path, file["part_size"])]
        for first in range(0, len(checksums), MAX_BATCH):
            batch = [
                {"number": number, "sha256": value}
                for number, value in enumerate(checksums[first : first + MAX_BATCH], first + 1)
            ]
            signed = self.post(f"/uploads/{file['id']}/parts/", {"parts": batch})["parts"]
            for target in signed:
                put(target, read_part(path, file["part_size"], target["number"]))
        while True:
            finished = self.post("/uploads/finish/", {"files": [{"id": file["id"], "sha256": checksums}]})["files"][0]
            if "retry_after" not in finished:
                return dict(finished)
            time.sleep(finished["retry_after"])

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {
            "Content-Type": "application/json",
            "X-CSRFToken": self._csrf_token(),
            "Referer": f"{self.url}/",
        }
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with self.opener.open(request) as response:
            return dict(json.load(response))

    def _csrf_token(self) -> str:
        return next(cookie.value or "" for cookie in self.cookies if cookie.name.endswith("amalga-csrf"))


def parts(path: Path, size: int) -> Iterator[bytes]:
    """Yield the parts of a file. An empty file is one empty part."""
    for number in range(1, max(1, -(-path.stat().st_size // size)) + 1):
        yield read_part(path, size, number)


def read_part(path: Path, size: int, number: int) -> bytes:
    with path.open("rb") as file:
        file.seek((number - 1) * size)
        return file.read(size)


def checksum(part: bytes) -> str:
    return base64.b64encode(hashlib.sha256(part).digest()).decode()


def put(target: dict[str, Any], part: bytes) -> None:
    """Send a part to storage with exactly the headers that were signed."""
    request = urllib.request.Request(target["url"], part, target["headers"], method="PUT")
    urllib.request.urlopen(request).close()


def main() -> None:
    url, user, path, *folder = sys.argv[1:]
    client = Client(url)
    client.sign_in(user, os.environ.get("AMALGA_PASSWORD") or getpass.getpass())
    file = client.upload(Path(path), *folder)
    print(url.rstrip("/") + file["url"], file["checksum_status"])


if __name__ == "__main__":
    main()
