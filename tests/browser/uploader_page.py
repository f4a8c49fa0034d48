"""The page object of the uploader: local files, drag and drop, the tray, and the PUTs to the storage."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Error, Locator, Page, Request, Route, expect

MIB = 1024**2
WAIT_MS = 20_000


@dataclass
class BlockedPuts:
    """Collects PUTs and keeps them from reaching the storage."""

    should_block: Callable[[int], bool]
    routes: list[Route] = field(default_factory=list)
    count: int = 0
    ended: bool = False
    disconnected: bool = False

    def handle(self, route: Route) -> None:
        self.count += 1
        if self.disconnected:
            route.abort("internetdisconnected")
        elif self.ended or not self.should_block(self.count):
            route.continue_()
        else:
            self.routes.append(route)

    def wait_for(self, count: int, page: Page) -> None:
        while len(self.routes) < count:
            page.wait_for_timeout(50)

    def fail(self) -> list[int]:
        """Fail the blocked requests like a lost connection; later ones pass. Return the numbers of the lost parts."""
        self.ended = True
        for route in self.routes:
            with contextlib.suppress(Error):  # the page may have aborted the request
                route.abort("internetdisconnected")
        return [part_number(route.request.url) for route in self.routes]

    def disconnect(self) -> list[int]:
        """Like `fail`, but later requests fail as well until `reconnect`, so that retries do not succeed."""
        self.disconnected = True
        return self.fail()

    def reconnect(self) -> None:
        self.disconnected = False

    def release(self) -> None:
        """Pass the blocked requests and later ones."""
        self.ended = True
        for route in self.routes:
            with contextlib.suppress(Error):
                route.continue_()


@dataclass
class UploaderPage:
    page: Page
    folder: Path
    site: str
    puts: list[Request] = field(default_factory=list)  # all PUTs to the storage

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.puts.append(request) if request.method == "PUT" else None)

    # --- files ---

    def file(self, name: str, body: bytes = b"hello") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    def large_file(self, name: str = "large.bin", parts: int = 4) -> Path:
        """Create a file of this many parts of 5 MiB, the last one short."""
        return self.file(name, os.urandom((parts - 1) * 5 * MIB + 1000))

    def drop(self, *paths: Path, at: tuple[float, float] = (200, 200)) -> None:
        """Drop real files and folders, as from a file manager, once no part of the page is being replaced."""
        expect(self.page.locator(".htmx-request, .htmx-swapping, .htmx-settling")).to_have_count(0)
        session = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind, (x, y) in (("dragEnter", at), ("dragOver", at), ("dragOver", at), ("drop", at)):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
        session.detach()

    # --- the tray ---

    @property
    def tray(self) -> Locator:
        return self.page.locator("#tray")

    @property
    def title(self) -> Locator:
        return self.page.locator("#tray-title")

    @property
    def rows(self) -> Locator:
        return self.page.locator(".tray-row")

    def click(self, name: str, *, within: Locator | None = None) -> None:
        (within or self.tray).get_by_role("button", name=name, exact=True).first.click()

    def expect_title(self, title: str) -> None:
        expect(self.title).to_have_text(title, timeout=WAIT_MS)

    def expect_receipt(self, text: str, *, timeout: int = WAIT_MS) -> None:
        """Wait until all uploads have ended with this result."""
        expect(self.tray.locator("[data-ref=verification]")).to_have_text(text, timeout=timeout)

    def expect_state(self, state: str, *, row: int = 0) -> None:
        expect(self.rows.nth(row).locator(".tray-state")).to_contain_text(state, timeout=WAIT_MS)

    # --- the network ---

    def block_puts(self, should_block: Callable[[int], bool]) -> BlockedPuts:
        """Block the PUTs for which `should_block(number of PUTs so far)` is true."""
        blocked = BlockedPuts(should_block)
        self.route_puts(blocked.handle)
        return blocked

    def route_puts(self, handle: Callable[[Route], None]) -> None:
        """Handle all PUTs to the storage; other requests pass."""
        self.page.route(
            re.compile(r"X-Amz-Signature="),
            lambda route: handle(route) if route.request.method == "PUT" else route.continue_(),
        )

    def sent_parts(self) -> list[int]:
        return [part_number(request.url) for request in self.puts]


def part_number(url: str) -> int:
    """Return the part number of a presigned URL; 1 for a file of one part."""
    return int(parse_qs(urlsplit(url).query).get("partNumber", ["1"])[0])
