"""The pictures that README.md shows, taken from the real thing: `make pictures`."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import uuid
from pathlib import Path

import urllib3
from playwright.sync_api import sync_playwright

from bench.upload import prepare
from bench.web import Web
from tests.support.chromium import ARGUMENTS, find

IMAGES = Path(__file__).parent.parent / "docs" / "images"
# name, folder, first bytes, size in bytes
THERE = [
    (
        "logo-dark.png",
        "Brand/Logos",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x40\x00\x00\x00\x40\x08\x06",
        48_213,
    ),
    ("press kit 2026.pdf", "Brand", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", 12_400_000),
    ("interview Łódź.mp3", "Press", b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x64" * 8, 4_100_000),
    ("budget 2027.xlsx", "", b"PK\x03\x04\x14\x00\x06\x00", 88_000),
    ("meeting notes.txt", "", b"Monday\n", 2_048),
]
DROPPED = [("holiday.mov", 6_000_000), ("report.docx", 1_200_000), ("שלום.txt", 640)]


def main() -> None:
    name, value = prepare()
    _store_some()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Web() as web, sync_playwright() as playwright:
        files = [_write(Path(folder) / file, size) for file, size in DROPPED]
        browser = playwright.chromium.launch(executable_path=find(), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1120, "height": 640}, color_scheme="light")
        context.add_cookies([{"name": name, "value": value, "url": web.url}])
        page = context.new_page()
        page.goto(f"{web.url}/upload/")
        page.locator("input[type=file][name=files]").set_input_files(files)
        page.locator("[data-upload-form] button[type=submit]").click()
        page.locator("#tray [data-ref=receipt]:not([hidden])").wait_for()
        _settle()
        page.get_by_text("3 of 3 stored and verified").wait_for()
        page.locator("a.brand").click()
        page.get_by_text("meeting notes.txt").wait_for()
        page.screenshot(path=IMAGES / "library.png")
        browser.close()


def _store_some() -> None:
    """Files of a small team, sent by the protocol's own services."""
    from django.contrib.auth.models import User

    from uploads import services
    from uploads.errors import Problem
    from uploads.services.finish import FinishRequest
    from uploads.services.start import NewUpload

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright's loop runs in this thread later on
    owners = [User.objects.get(username="bench"), User.objects.create_superuser("bob")]
    User.objects.filter(username="bench").update(username="alice")
    for number, (name, folder, first, size) in enumerate(reversed(THERE)):
        owner = owners[number % 2]
        body = first.ljust(size, b"\x00" if b"\x00" in first else b" ")
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        new = NewUpload(token=uuid.uuid4(), name=name, folder=folder, size=size, sha256=digest)
        (started,) = services.start(owner, [new])
        if isinstance(started, Problem) or started.signed is None:
            raise RuntimeError(f"{name} was not taken")
        urllib3.request("PUT", started.signed.url, body=body, headers=started.signed.headers)
        services.finish(owner, [FinishRequest(started.file.pk, [digest])])


def _settle() -> None:
    """What `manage.py verify` does next to `make run`."""
    from uploads import services
    from uploads.models import File

    for file in File.objects.available():
        services.verify(file)


def _write(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size) if path.suffix != ".txt" else b"shalom\n" * (size // 7))
    return path


if __name__ == "__main__":
    main()
