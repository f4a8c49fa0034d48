"""Ask a site what a person would ask first: smoke.py URL [SECONDS]. Exit status 0 when all is answered. No library.

Tried again until MAX_SECONDS are over, since a balancer takes a while to send people to what is new. A store that is
away is told, and is no reason to bring an older version back.
"""

import re
import sys
import time
import urllib.error
import urllib.request
from typing import NamedTuple

RESPONSE_SECONDS = 15
MAX_SECONDS = 180
PAUSE_SECONDS = 3


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Refused(Exception):
    """What was not as it should be, in a line."""


def ask(url: str) -> Answer:
    try:
        with urllib.request.urlopen(url, timeout=RESPONSE_SECONDS) as answer:  # noqa: S310 - of whoever calls this
            return Answer(answer.status, dict(answer.headers), answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as refusal:
        return Answer(refusal.code, dict(refusal.headers), "")
    except (OSError, ValueError) as fault:
        raise Refused(f"{url}: no answer ({fault})") from None


def expect(url: str, *, having: str = "") -> Answer:
    answer = ask(url)
    if answer.status != 200:
        raise Refused(f"{url} answers {answer.status}")
    if having not in answer.text:
        raise Refused(f"{url} answers, but without {having}")
    return answer


def look(site: str) -> str:
    """What /readyz says, when all is well. Raises Refused."""
    expect(f"{site}/healthz")
    ready = expect(f"{site}/readyz")
    page = expect(f"{site}/accounts/login/", having="csrfmiddlewaretoken")
    if site.startswith("https://") and "Strict-Transport-Security" not in page.headers:
        raise Refused(f"{site}/accounts/login/ says nothing about TLS only")
    style = re.search(r'href="(/static/[^"]+\.css)"', page.text)
    if not style:
        raise Refused(f"{site}/accounts/login/ names no stylesheet")
    expect(f"{site}{style[1]}")
    return ready.text.strip()


def main(site: str, seconds: float) -> str | None:
    end = time.monotonic() + seconds
    while True:
        try:
            sys.stdout.write(f"{site} answers: {look(site)}\n")
            return None
        except Refused as refused:
            if time.monotonic() > end:
                return str(refused)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("smoke.py URL [SECONDS]")
    sys.exit(main(sys.argv[1].rstrip("/"), float(sys.argv[2]) if len(sys.argv) > 2 else MAX_SECONDS))
