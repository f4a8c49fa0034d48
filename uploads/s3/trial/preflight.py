"""What a browser is told when a page asks whether it may send to the bucket (Fetch standard, "CORS-preflight")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uploads.s3.asked import asking
from uploads.s3.client import http
from uploads.s3.objects import NEVER_USED
from uploads.s3.signing import address
from uploads.s3.stores import main_store

METHOD = "PUT"


@dataclass(frozen=True)
class Preflight:
    """`lets_in`: a browser would send. Otherwise `why` it would not. `everybody`: the answer fits any page."""

    lets_in: bool
    why: str
    everybody: bool


def preflight(origin: str, headers: Sequence[str]) -> Preflight:
    """Ask as a browser does for a page of `origin` that wants to PUT with these headers. Raises Said."""
    sent = {
        "Origin": origin,
        "Access-Control-Request-Method": METHOD,
        "Access-Control-Request-Headers": ",".join(sorted(name.lower() for name in headers)),
    }
    with asking("OPTIONS"):
        answer = http().request("OPTIONS", address(NEVER_USED, main_store()), headers=sent)
    allowed = answer.headers.get("Access-Control-Allow-Origin", "")
    why = _why_not(answer.status, allowed, origin)
    may = _words(answer.headers.get("Access-Control-Allow-Methods", ""))
    if not why and not {METHOD.lower(), "*"} & may:
        why = f"{METHOD} is not allowed"
    listed = _words(answer.headers.get("Access-Control-Allow-Headers", ""))
    refused = [] if "*" in listed else [name for name in headers if name.lower() not in listed]
    if not why and refused:
        why = f"the header {', '.join(refused)} is not allowed"
    return Preflight(not why, why, allowed == "*")


def _why_not(status: int, allowed: str, origin: str) -> str:
    if not 200 <= status < 300:
        return f"it answers {status}"
    if allowed in {origin, "*"}:
        return ""
    return f"it lets in {allowed[:100]} instead" if allowed else "it names no origin that may"


def _words(listed: str) -> set[str]:
    return {word.strip().lower() for word in listed.split(",")}
