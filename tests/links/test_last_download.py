"""Concurrent requests for the last download of a link: only one succeeds."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User

from tests.links.conftest import Shared
from tests.support import factories
from tests.support.stores import Bucket
from uploads.models import Action, Event, ShareLink

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object) -> None:
        return None


def status(url: str) -> int:
    opener = urllib.request.build_opener(NoRedirect)
    try:
        return int(opener.open(url, timeout=30).status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("path", ["download", "zip"])
def test_one_of_fifty_concurrent_requests_gets_the_last_download(
    path: str, site: str, alice: User, bucket: Bucket, shared: Shared
) -> None:
    file = factories.create_file(alice, bucket=bucket)
    link, url = shared(file, max_downloads=3)
    ShareLink.objects.filter(pk=link.pk).update(use_count=2)
    with ThreadPoolExecutor(50) as threads:
        statuses = Counter(threads.map(status, [f"{site}{url}{path}"] * 50))
    granted = statuses.pop(302 if path == "download" else 200)
    assert granted == 1
    assert set(statuses) <= ({410} if path == "download" else {410, 429, 503})
    link.refresh_from_db()
    assert link.use_count == 3
    assert Event.objects.filter(action=Action.DOWNLOAD, detail__share_link=link.pk).count() == 1
