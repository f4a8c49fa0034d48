"""The ten tests of MDN's HTTP Observatory, and its scoring.

From mdn/mdn-http-observatory 1.4.8, src/analyzer/tests and src/grader/charts.js; docs/operate/cdn.md describes how to
run the original. Each test returns points; a negative number means failed. Unlike the original, this does not
distinguish kinds of failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookies import Morsel

BASE = 100
GRADES = {100: "A+", 90: "A", 85: "A-", 80: "B+", 70: "B", 65: "B-"}  # and lower; ours must be A+
EXTRA_FROM = 90
HALF_A_YEAR = 15_552_000
BROAD = {"*", "http:", "https:", "ftp:", "http://*", "https://*", "http://*.*", "https://*.*"}
UNSAFE = {"'unsafe-inline'", "'unsafe-eval'", "data:"}
GOOD_REFERRERS = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
FAILED = -20

Headers = Mapping[str, str]


@dataclass(frozen=True)
class PageResponse:
    """A page as the Observatory sees it."""

    headers: Headers
    body: str
    cookies: list[Morsel[str]]
    preflight: Headers  # response headers of an OPTIONS request with an Origin
    plain: tuple[int, str]  # status and Location of the same address over http
    address: str  # its host and port


@dataclass(frozen=True)
class Score:
    points: dict[str, int]

    @property
    def failed(self) -> list[str]:
        return [name for name, points in self.points.items() if points < 0]

    @property
    def total(self) -> int:
        """Return the total. Bonus points count only from a score of 90."""
        lost = BASE + sum(min(0, points) for points in self.points.values())
        return BASE + sum(self.points.values()) if lost >= EXTRA_FROM else lost

    @property
    def grade(self) -> str:
        return next((grade for least, grade in GRADES.items() if self.total >= least), "below B-")


def score(page: PageResponse) -> Score:
    policy = policy_of(page.headers)
    return Score(
        {
            "content-security-policy": _policy(policy),
            "cookies": _cookies(page.cookies),
            "cross-origin-resource-sharing": -50 if "Access-Control-Allow-Credentials" in page.preflight else 0,
            "cross-origin-resource-policy": _resource_policy(page.headers.get("Cross-Origin-Resource-Policy", "")),
            "redirection": _redirection(page),
            "referrer-policy": 5 if page.headers.get("Referrer-Policy", "").lower() in GOOD_REFERRERS else -5,
            "strict-transport-security": _transport(page.headers.get("Strict-Transport-Security", "")),
            "subresource-integrity": _integrity(page),
            "x-content-type-options": 0 if page.headers.get("X-Content-Type-Options", "").lower() == "nosniff" else -5,
            "x-frame-options": 5 if "frame-ancestors" in policy else FAILED,
        }
    )


def policy_of(headers: Headers) -> dict[str, list[str]]:
    """Parse the policy. Of duplicate directives, the first one counts (CSP3, 2.2.1)."""
    parts = [part.split() for part in headers.get("Content-Security-Policy", "").split(";") if part.strip()]
    return {name.lower(): sources for name, *sources in reversed(parts)}


def _policy(policy: dict[str, list[str]]) -> int:
    everything = policy.get("default-src", ["*"])
    running = {*policy.get("script-src", everything), *policy.get("object-src", everything)}
    styles = set(policy.get("style-src", everything))
    sources = {source for directive in policy.values() for source in directive}
    if (running | styles) & (BROAD | UNSAFE) or any(source.startswith(("http:", "ftp:")) for source in sources):
        return FAILED
    return 10 if everything == ["'none'"] else 5


def _cookies(cookies: list[Morsel[str]]) -> int:
    if not cookies:
        return 0
    for cookie in cookies:
        is_session = any(word in cookie.key.lower() for word in ("sess", "login"))
        if not cookie["secure"] or (is_session and not cookie["httponly"]):
            return FAILED
    return 5 if all(cookie["samesite"] in {"Lax", "Strict"} for cookie in cookies) else FAILED


def _resource_policy(value: str) -> int:
    return 10 if value in {"same-origin", "same-site"} else 0 if not value or value == "cross-origin" else -5


def _redirection(page: PageResponse) -> int:
    """The first redirect must lead to https at the same host."""
    status, location = page.plain
    return 0 if status in {301, 302, 307, 308} and location.startswith(f"https://{page.address}/") else FAILED


def _transport(value: str) -> int:
    ages = [part.strip()[8:] for part in value.lower().split(";") if part.strip().startswith("max-age=")]
    return 0 if len(ages) == 1 and ages[0].isdigit() and int(ages[0]) >= HALF_A_YEAR else FAILED


class _Scripts(HTMLParser):
    def __init__(self, body: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(body)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and dict(attrs).get("src"):
            self.found.append(dict(attrs))


def _integrity(page: PageResponse) -> int:
    """Scripts from other origins require integrity hashes."""
    scripts = _Scripts(page.body).found
    foreign = [
        script for script in scripts if not str(script["src"]).startswith("/") or str(script["src"]).startswith("//")
    ]
    if any("integrity" not in script for script in foreign):
        return FAILED
    return 5 if foreign or any("integrity" in script for script in scripts) else 0
