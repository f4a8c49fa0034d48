"""Check that a site responds to the first requests of a user: smoke.py URL [SECONDS]. Exits with 0 if it does.

Retries for MAX_SECONDS, because load balancers need some time to send requests to new servers. Unavailable storage is
printed, but is no reason to restore an older version. Needs no library.
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


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class CheckFailed(Exception):
    """A check failed; the message is one line."""


def fetch(url: str) -> Response:
    try:
        with urllib.request.urlopen(url, timeout=RESPONSE_SECONDS) as response:  # noqa: S310 - the URL is that of the caller
            return Response(response.status, dict(response.headers), response.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return Response(error.code, dict(error.headers), "")
    except (OSError, ValueError) as error:
        raise CheckFailed(f"{url}: no response ({error})") from None


def expect(url: str, *, having: str = "") -> Response:
    response = fetch(url)
    if response.status != 200:
        raise CheckFailed(f"{url} responded with {response.status}")
    if having not in response.text:
        raise CheckFailed(f"{url} responded without {having}")
    return response


def check(site: str) -> str:
    """Return the text of /readyz if all checks pass. Raises CheckFailed."""
    expect(f"{site}/healthz")
    ready = expect(f"{site}/readyz")
    page = expect(f"{site}/accounts/login/", having="csrfmiddlewaretoken")
    if site.startswith("https://") and "Strict-Transport-Security" not in page.headers:
        raise CheckFailed(f"{site}/accounts/login/ has no Strict-Transport-Security header")
    style = re.search(r'href="(/static/[^"]+\.css)"', page.text)
    if not style:
        raise CheckFailed(f"{site}/accounts/login/ has no stylesheet")
    expect(f"{site}{style[1]}")
    return ready.text.strip()


def main(site: str, seconds: float) -> str | None:
    end = time.monotonic() + seconds
    while True:
        try:
            sys.stdout.write(f"{site} responds: {check(site)}\n")
            return None
        except CheckFailed as error:
            if time.monotonic() > end:
                return str(error)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("smoke.py URL [SECONDS]")
    sys.exit(main(sys.argv[1].rstrip("/"), float(sys.argv[2]) if len(sys.argv) > 2 else MAX_SECONDS))
