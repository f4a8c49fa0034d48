"""Many tries at once, against the web server with several processes and threads."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.utils import timezone

from uploads.accounts.throttling import PAIR_LIMIT
from uploads.models import TokenBucket

AT_ONCE = 24


def tokens(site: str) -> tuple[str, str]:
    """The cookie of the login page, and the token of its form."""
    jar = CookieJar()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    page = direct.open(f"{site}/accounts/login/", timeout=20).read().decode()
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert found
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar), found[1]


def guess(site: str, cookie: str, token: str) -> int:
    form = urlencode({"username": "alice", "password": "wrong", "csrfmiddlewaretoken": token}).encode()
    asked = urllib.request.Request(f"{site}/accounts/login/", form, {"Cookie": cookie})
    try:
        return int(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60).status)
    except HTTPError as answer:
        return answer.code


def test_of_many_tries_at_once_no_more_are_looked_at_than_are_free(
    transactional_db: None, alice: User, site: str
) -> None:
    cookie, token = tokens(site)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        told = Counter(threads.map(lambda _n: guess(site, cookie, token), range(AT_ONCE)))
    assert told == {200: 5, 429: AT_ONCE - 5}
    full_at = TokenBucket.objects.get(key__startswith="pair").full_at
    assert full_at - timezone.now() <= timedelta(seconds=PAIR_LIMIT.capacity * PAIR_LIMIT.refill_seconds)
