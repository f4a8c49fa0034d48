"""What people feel of the library in headless Chromium: `make bench-pages`, on a machine that does nothing else.

First contentful paint, layout shift, requests and bytes of a cold load, and the time from an input to the next paint
(Event Timing, whose durations are multiples of 8 ms) with all rows of a page selected and with 2,000 files in the tray.
"""

from __future__ import annotations

import gzip
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Response, sync_playwright

from bench.report import save_results
from bench.upload import prepare
from bench.web import Web
from tests.support.chromium import ARGUMENTS, find

LOADS = 7
FILES = 2_000
PRESSES = 8
MAX_FCP_MS, MAX_INP_MS, MAX_SHIFT, MAX_KIB, MAX_SCRIPTS = 600, 100, 0.02, 75, 12

OBSERVE = """
window.vitals = {shift: 0, inputs: []};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.vitals.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (entry.interactionId) window.vitals.inputs.push(entry.duration);
}).observe({type: "event", durationThreshold: 16, buffered: true});
"""


def main() -> None:
    name, value = prepare()
    make_files(FILES)
    with tempfile.TemporaryDirectory() as folder, Web() as web, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=ARGUMENTS)
        cookie = {"name": name, "value": value, "url": web.url}
        rows = [load(browser, web.url, cookie), *interactions(browser, web.url, cookie, Path(folder))]
        browser.close()
    print(save_results("web_vitals", rows, verdicts(rows)))


def make_files(count: int) -> None:
    """Create rows of available files; none has an object, because no page of the list reads one."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    from django.contrib.auth.models import User

    from tests.support import file_rows
    from uploads.models import State

    owner = User.objects.get(username="bench")
    for number in range(count):
        file_rows.create_row(owner, State.AVAILABLE, name=f"report {number}.pdf", category="pdf")


def open_page(browser: Browser, cookie: Any, url: str, responses: list[Response] | None = None) -> Page:
    """Open the page in a new context, whose caches are empty."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_cookies([cookie])
    page = context.new_page()
    page.add_init_script(OBSERVE)
    if responses is not None:
        page.on("response", lambda response: responses.append(response))  # Playwright cannot mark a builtin method
    page.goto(url, wait_until="networkidle")
    return page


def load(browser: Browser, url: str, cookie: Any) -> dict[str, Any]:
    paints, shifts, sizes, scripts = [], [], [], []
    for _ in range(LOADS):
        responses: list[Response] = []
        page = open_page(browser, cookie, url, responses)
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        shifts.append(page.evaluate("window.vitals.shift"))
        sizes.append(sum(map(wire_bytes, responses)) / 1024)
        scripts.append(sum(response.url.endswith(".js") for response in responses))
        page.context.close()
    return {
        "case": "cold load of the library, 50 files",
        "fcp_ms": statistics.median(paints),
        "max_fcp_ms": max(paints),
        "layout_shift": max(shifts),
        "kib": max(sizes),
        "scripts": max(scripts),
    }


def wire_bytes(response: Response) -> int:
    """The compressed bytes of the body; nginx compresses the page itself."""
    if response.headers.get("content-encoding") in {"br", "gzip"}:
        return int(response.headers["content-length"])
    return len(gzip.compress(response.body()))


def interactions(browser: Browser, url: str, cookie: Any, folder: Path) -> list[dict[str, Any]]:
    page = open_page(browser, cookie, url)
    page.locator("[data-action=select-all]").check()
    page.locator("input[name=all]").check()
    rows = [measure(page, f"all {FILES:,} matching files selected", press_rows)]
    page.context.close()
    page = open_page(browser, cookie, url)
    page.route("**/*X-Amz-Signature*", lambda route: None)  # storage does not respond: the files stay in the tray
    paths = [folder / f"{number}.txt" for number in range(FILES)]
    for path in paths:
        path.write_bytes(b"hello")
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})
    page.locator(".tray-row").first.wait_for()
    page.wait_for_timeout(5_000)
    rows.append(measure(page, f"{FILES:,} files in the tray", press_tray))
    page.context.close()
    return rows


def measure(page: Page, case: str, press: Callable[[Page], None]) -> dict[str, Any]:
    page.evaluate("window.vitals.inputs.length = 0; window.vitals.shift = 0")
    for _ in range(PRESSES):
        press(page)
        page.wait_for_timeout(200)
    inputs = page.evaluate("window.vitals.inputs")
    return {"case": case, "inp_ms": max(inputs, default=0), "layout_shift": page.evaluate("window.vitals.shift")}


def press_rows(page: Page) -> None:
    page.locator(".row-checkbox").nth(3).click()
    page.locator(".row-checkbox").nth(20).click(modifiers=["Shift"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")


def press_tray(page: Page) -> None:
    page.locator("#tray [data-action=toggle]").click()
    page.locator("#tray [data-action=toggle]").click()
    page.locator(".row-checkbox").nth(3).click()


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    cold, *inputs = rows
    slowest = max(row["inp_ms"] for row in inputs)
    shift = max(row["layout_shift"] for row in rows)
    return [
        f"first contentful paint: {cold['fcp_ms']:.0f} ms, the median of {LOADS} loads (at most {MAX_FCP_MS})",
        f"interaction to next paint: {slowest:.0f} ms, the slowest (at most {MAX_INP_MS})",
        f"layout shift: {shift:.3f} (at most {MAX_SHIFT})",
        f"page with scripts and styles: {cold['kib']:.1f} KiB compressed (at most {MAX_KIB})",
        f"requests of scripts on a cold load: {cold['scripts']} (at most {MAX_SCRIPTS})",
    ]


if __name__ == "__main__":
    main()
