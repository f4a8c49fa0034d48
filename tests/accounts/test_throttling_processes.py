"""Concurrent attempts, against the web server with several processes and threads."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from uploads.accounts.throttling import PAIR_LIMIT
from uploads.models import TokenBucket

pytestmark = pytest.mark.slow

CONCURRENCY = 24


def csrf_tokens(site: str) -> tuple[str, str]:
    """Return the cookie of the sign-in page, and the CSRF token of its form."""
    jar = CookieJar()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    page = direct.open(f"{site}/accounts/login/", timeout=20).read().decode()
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert match
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar), match[1]


def post_wrong_password(site: str, cookie: str, token: str) -> int:
    form = urlencode({"username": "alice", "password": "wrong", "csrfmiddlewaretoken": token}).encode()
    request = urllib.request.Request(f"{site}/accounts/login/", form, {"Cookie": cookie})
    try:
        return int(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60).status)
    except HTTPError as error:
        return error.code


def test_concurrent_attempts_do_not_exceed_the_limit(transactional_db: None, alice: User, site: str) -> None:
    cookie, token = csrf_tokens(site)
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        statuses = Counter(threads.map(lambda _n: post_wrong_password(site, cookie, token), range(CONCURRENCY)))
    assert statuses == {200: 5, 429: CONCURRENCY - 5}
    full_at = TokenBucket.objects.get(key__startswith="pair").full_at
    assert full_at - timezone.now() <= timedelta(seconds=PAIR_LIMIT.capacity * PAIR_LIMIT.refill_seconds)
