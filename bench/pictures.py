"""The pictures of README.md and docs/, taken from the running application: `make pictures`."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import urllib3
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, sync_playwright

from bench.upload import prepare
from bench.web import Web
from tests.support.chromium import ARGUMENTS, find

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH, HEIGHT = 1120, 640
QUALITY = 82  # of WebP
# name, folder, size in bytes; pictures are drawn, and everything else has the beginning of its type
LIBRARY = [
    ("team photo.jpg", "Brand/Photos", 0),
    ("harbor at dawn.jpg", "Brand/Photos", 0),
    ("press kit 2027.pdf", "Press", 12_400_000),
    ("interview Łódź.mp3", "Press", 4_100_000),
    ("contract.pdf", "Legal", 310_000),
    ("budget 2027.xlsx", "", 88_000),
    ("meeting notes.txt", "", 2_048),
    ("logo.png", "", 0),
    ("product tour.mp4", "", 8_600_000),
    ("launch plan.txt", "", 5_300),
    ("press photo.jpg", "", 0),
]
BEGINNINGS = {
    ".pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", ".mp3": b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x64" * 8,
    ".xlsx": b"PK\x03\x04\x14\x00\x06\x00", ".txt": b"Monday\n",
    ".mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
}  # fmt: skip
DROPPED = [("holiday.mov", 6_000_000), ("report.docx", 1_200_000), ("שלום.txt", 640)]
Scheme = Literal["light", "dark"]


def main() -> None:
    name, value = prepare()
    pages = make_library()
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.glob("*.webp"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder, Web() as web, sync_playwright() as playwright:
        files = [_write(Path(folder) / file, size) for file, size in DROPPED]
        browser = playwright.chromium.launch(executable_path=find(), args=ARGUMENTS)

        def take(
            picture: str,
            path: str,
            prepare: Callable[[Page], Any] | None = None,
            scheme: Scheme = "light",
            height: int = HEIGHT,
        ) -> None:
            page = _page(browser, web.url, {"name": name, "value": value, "url": web.url}, scheme, height)
            page.goto(web.url)
            _dismiss(page)
            page.goto(web.url + path)
            if prepare:
                prepare(page)
            page.wait_for_load_state("networkidle")
            while not page.evaluate("[...document.images].every(image => image.complete)"):  # the CSP forbids polling
                page.wait_for_timeout(100)
            _save(page.screenshot(), IMAGES / f"{picture}.webp")
            page.context.close()

        take("library-light", "/")
        take("library-dark", "/", scheme="dark")
        take("search", "/?q=press")
        take("file", pages["file"], height=900)
        take("access", pages["access"], height=760)
        take("trash", "/trash/")
        take("share", pages["share"], height=760)
        take("upload-light", "/upload/", lambda page: _upload(page, files))
        _trash([name for name, _size in DROPPED])
        take("upload-dark", "/upload/", lambda page: _upload(page, files), "dark")
        browser.close()


def _page(browser: Browser, url: str, cookie: Any, scheme: Scheme, height: int) -> Page:
    context = browser.new_context(viewport={"width": WIDTH, "height": height}, color_scheme=scheme)
    context.add_cookies([cookie])
    return context.new_page()


def _dismiss(page: Page) -> None:
    """Hide the first steps, which a new administrator sees."""
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_role("button", name="Dismiss").wait_for(state="detached")
    page.mouse.move(0, 0)


def _upload(page: Page, files: list[Path]) -> None:
    """Upload files, and show the receipt next to the library."""
    page.locator("input[type=file][name=files]").set_input_files(files)
    page.locator("[data-upload-form] button[type=submit]").click()
    page.locator("#tray [data-ref=receipt]:not([hidden])").wait_for()
    page.locator("#tray").hover()  # so that the list stays open
    _verify()
    page.get_by_text("3 of 3 stored and verified").wait_for()
    page.locator("a.brand").click()
    page.get_by_text("meeting notes.txt").wait_for()


def _trash(names: list[str]) -> None:
    from django.contrib.auth.models import User

    from uploads import actions
    from uploads.models import File

    links = [file.permanent_id for file in File.objects.filter(name__in=names)]
    actions.trash_files(links, by=User.objects.get(username="alice"))


def _save(png: bytes, path: Path) -> None:
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(path, "WEBP", quality=QUALITY, method=6)


def make_library() -> dict[str, str]:
    """Store the files of a small team. Returns addresses of a file with versions and of a folder's access."""
    from django.contrib.auth.models import Group, User

    from uploads import actions, services
    from uploads.models import AccessLevel, File, Folder

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright's loop runs in this thread later on
    User.objects.filter(username="bench").update(username="alice")
    alice, bob = User.objects.get(username="alice"), User.objects.create_superuser("bob")
    for number, (name, folder, size) in enumerate(LIBRARY):
        _send([alice, bob][number % 2], name, folder, _body(name, size, number))
    for number in (2, 3):
        _send(
            alice,
            "logo.png",
            "",
            _body("logo.png", 0, number),
            replaces=File.objects.get(name="logo.png", current=True),
        )
    old = _send(bob, "draft of the press kit.pdf", "", _body("x.pdf", 90_000, 0))
    for file in File.objects.available():
        services.make_previews(file)
    logo = File.objects.get(name="logo.png", current=True)
    actions.tag_files([logo.permanent_id, *File.objects.filter(folder__name="Photos").values_list("pk", flat=True)],
                      add=["Campaign 2027"], by=alice)  # fmt: skip
    actions.trash_file(old, by=bob)
    legal = Folder.objects.get(name="Legal")
    groups = {name: Group.objects.create(name=name) for name in ("finance", "legal", "press")}
    services.folders.set_access(
        legal, {groups["legal"]: AccessLevel.MANAGE, groups["finance"]: AccessLevel.VIEW}, by=alice
    )
    _verify()
    press = Folder.objects.get(name="Press")
    return {
        "file": logo.get_absolute_url(),
        "share": f"/folders/{press.pk}/share",
        "access": f"/folders/{legal.pk}/access",
    }


def _send(owner: Any, name: str, folder: str, body: bytes, replaces: Any = None) -> Any:
    """Upload a file with the protocol's own services; returns its row."""
    from uploads import services
    from uploads.errors import Problem
    from uploads.services.finish import FinishRequest
    from uploads.services.start import NewUpload

    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    more = {"replaces": replaces.permanent_id} if replaces else {}
    new = NewUpload(token=uuid.uuid4(), name=name, folder=folder, size=len(body), sha256=checksum, **more)
    (started,) = services.start(owner, [new])
    if isinstance(started, Problem) or started.signed is None:
        raise RuntimeError(f"{name} was refused: {started}")
    urllib3.request("PUT", started.signed.url, body=body, headers=started.signed.headers)
    services.finish(owner, [FinishRequest(started.file.pk, [checksum])])
    started.file.refresh_from_db()
    return started.file


def _body(name: str, size: int, number: int) -> bytes:
    if name.endswith((".png", ".jpg")):
        return _drawn(name, number)
    first = BEGINNINGS[Path(name).suffix]
    return first.ljust(size, b"\x00" if b"\x00" in first else b" ")


def _drawn(name: str, number: int) -> bytes:
    """A landscape for photos, a mark for a logo; another one for each number."""
    image = Image.new("RGB", (960, 640), "#f4efe6" if name == "logo.png" else "#f2b66d")
    draw = ImageDraw.Draw(image)
    if name == "logo.png":
        for step, color in enumerate(["#0f766e", "#14b8a6", "#99f6e4"]):
            size = 260 - 70 * step
            draw.rounded_rectangle((480 - size, 320 - size // 2, 480 + size, 320 + size // 2), 40 + 12 * number, color)
    else:
        for line in range(640):
            draw.line((0, line, 960, line), (242 - line // 6, 150 + line // 12, 90 + line // 4))
        draw.ellipse((620 - 40 * number, 120, 760 - 40 * number, 260), "#fff3c4")
        for step, color in enumerate(["#2f6f6a", "#1f4f52", "#12343b"]):
            top = 330 + 90 * step
            ridge = [(0, top + 60), (240, top - 40), (520, top + 50), (760, top - 20), (960, top + 70)]
            draw.polygon([*ridge, (960, 640), (0, 640)], color)
    file = io.BytesIO()
    image.save(file, "PNG" if name.endswith(".png") else "JPEG", quality=88)
    return file.getvalue()


def _verify() -> None:
    """What the worker does next to `make run`."""
    from tests.support.verification import verify_file
    from uploads.models import File

    for file in File.objects.available():
        verify_file(file)


def _write(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size) if path.suffix != ".txt" else b"shalom\n" * (size // 7))
    return path


if __name__ == "__main__":
    main()
