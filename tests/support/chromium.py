"""The browser of the tests: an installed Chrome or Chromium, otherwise Playwright's own.

`python -m tests.support.chromium` installs it if it is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import debian

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGUMENTS = [
    # only the test pages may use the network
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium's sandbox refuses root
]
ADVICE = "No browser for the tests: install Chromium or Google Chrome, then run make test again."


def find() -> str | None:
    """Return the path of an installed browser, or None."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    return str(MAC) if MAC.exists() else _playwrights_own()


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> bool:
    """Install a browser. Prefers Debian's package, because Playwright's lacks the shared libraries."""
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    return debian.install("chromium") or subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


def main() -> str | None:
    """Return None, or advice for a person."""
    if find() or (install() and find()):
        return None
    return ADVICE


if __name__ == "__main__":
    sys.exit(main())
