"""What a person does with files and the page, and what they see of it."""

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
class Held:
    """PUTs that are kept from reaching the store."""

    keep: Callable[[int], bool]
    routes: list[Route] = field(default_factory=list)
    count: int = 0
    over: bool = False
    is_cut: bool = False

    def decide(self, route: Route) -> None:
        self.count += 1
        if self.is_cut:
            route.abort("internetdisconnected")
        elif self.over or not self.keep(self.count):
            route.continue_()
        else:
            self.routes.append(route)

    def wait_for(self, count: int, page: Page) -> None:
        while len(self.routes) < count:
            page.wait_for_timeout(50)

    def lose(self) -> list[int]:
        """The requests die, as with a cut cable; what comes later passes. Gives the parts that are lost."""
        self.over = True
        for route in self.routes:
            with contextlib.suppress(Error):  # the page may have given the request up itself
                route.abort("internetdisconnected")
        return [part_number(route.request.url) for route in self.routes]

    def cut(self) -> list[int]:
        """As `lose`, but later requests die too, until `reconnect`: a page that retries at once sends nothing."""
        self.is_cut = True
        return self.lose()

    def reconnect(self) -> None:
        self.is_cut = False

    def let_go(self) -> None:
        """The requests go on; what comes later passes."""
        self.over = True
        for route in self.routes:
            with contextlib.suppress(Error):
                route.continue_()


@dataclass
class Hands:
    page: Page
    folder: Path
    site: str
    sent: list[Request] = field(default_factory=list)  # every PUT to the store

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.sent.append(request) if request.method == "PUT" else None)

    # --- files ---

    def file(self, name: str, body: bytes = b"hello") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    def large(self, name: str = "large.bin", parts: int = 4) -> Path:
        """A file of this many parts of 5 MiB, the last of them short."""
        return self.file(name, os.urandom((parts - 1) * 5 * MIB + 1000))

    def drop(self, *paths: Path) -> None:
        """As from a file manager: real files and folders, through the browser's own drag and drop."""
        session = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})
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

    def press(self, name: str, *, within: Locator | None = None) -> None:
        (within or self.tray).get_by_role("button", name=name, exact=True).first.click()

    def sees(self, receipt: str) -> None:
        expect(self.title).to_have_text(receipt, timeout=WAIT_MS)

    def waits_until(self, state: str, *, row: int = 0) -> None:
        expect(self.rows.nth(row).locator(".tray-state")).to_contain_text(state, timeout=WAIT_MS)

    # --- the network ---

    def hold(self, keep: Callable[[int], bool]) -> Held:
        """Holds back the PUTs for which `keep(count of PUTs so far)` is true, until they are let go."""
        held = Held(keep)
        self.on_put(held.decide)
        return held

    def on_put(self, handle: Callable[[Route], None]) -> None:
        """Handles every PUT to the store; what else goes there passes."""
        self.page.route(
            re.compile(r"X-Amz-Signature="),
            lambda route: handle(route) if route.request.method == "PUT" else route.continue_(),
        )

    def parts_sent(self) -> list[int]:
        return [part_number(request.url) for request in self.sent]


def part_number(url: str) -> int:
    """The part a signed URL is for; 1 for a file of one part."""
    return int(parse_qs(urlsplit(url).query).get("partNumber", ["1"])[0])
