"""Chromium saves the stored bytes of an object with a content encoding, from every storage."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from tests.conftest import own
from tests.support import two_stores
from uploads.models import File

pytestmark = pytest.mark.slow

TEXT = b"what a browser shows of it " * 1000
BODIES = {"gzip": gzip.compress(TEXT), "br": b"no brotli at all", "gzip, gzip": gzip.compress(gzip.compress(TEXT))}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("store", ["local", "digests"])
@pytest.mark.parametrize("encoding", BODIES)
def test_browser_saves_stored_bytes(
    store: str, encoding: str, alice: User, sign_in: Callable[[User, str], Page], request: pytest.FixtureRequest
) -> None:
    site = request.getfixturevalue("small_parts_site" if store == "local" else "small_parts_digest_site")
    bucket = request.getfixturevalue("bucket") if store == "local" else own(request.getfixturevalue("digest_store"))
    file = two_stores.imported(alice, bucket, "site/a.txt", BODIES[encoding], name="a.txt")
    bucket.client.put_object(Bucket=bucket.name, Key=file.key, Body=BODIES[encoding], ContentEncoding=encoding)
    page = sign_in(alice, site)
    page.goto(f"{site}{file.get_absolute_url()}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    assert download.value.suggested_filename == File.objects.get(pk=file.pk).stored_name != "a.txt"
    assert Path(download.value.path()).read_bytes() == BODIES[encoding]
