"""An authenticator app (RFC 6238), which reads its key from the page."""

from __future__ import annotations

import base64
import hmac
import re
import struct
import time
from typing import Any

PERIOD_SECONDS = 30
KEY = re.compile(r'<code class="secret-key">([A-Z2-7]+)</code>')


def code(key: str, *, periods_later: int = 0) -> str:
    """Return the current code."""
    counter = int(time.time()) // PERIOD_SECONDS + periods_later
    digest = hmac.digest(base64.b32decode(key), struct.pack(">Q", counter), "sha1")
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def wrong(key: str) -> str:
    """Return a code that is valid neither now nor soon."""
    shown = {code(key, periods_later=n) for n in range(-3, 4)}
    return next(text for n in range(100) if (text := f"{n:06}") not in shown)


def read_key(page: bytes) -> str:
    match = KEY.search(page.decode())
    assert match
    return match[1]


def set_up(client: Any) -> str:
    """Set up two-factor authentication right after sign-in, and return the key."""
    key = read_key(client.get("/accounts/factor/add/").content)
    response = client.post("/accounts/factor/add/", {"code": code(key, periods_later=-1)})
    assert response.headers["Location"] == "/accounts/recovery-codes/", response.content.decode()
    return key
