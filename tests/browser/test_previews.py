"""Previews in a browser, with policy, storage and worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tests.conftest import signed_in
from tests.support.pictures import as_file, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import services
from uploads.models import File

pytestmark = pytest.mark.django_db(transaction=True)
SignIn = Callable[[User, str], Page]


def shown(owner: User, body: bytes, name: str) -> File:
    file = UploadClient(signed_in(owner)).send(body, name=name)
    services.make_previews(file)
    return file


def test_image_preview_is_shown_and_cached(alice: User, bucket: Bucket, site: str, sign_in: SignIn) -> None:
    file = shown(alice, as_file(two_halves()), "photo.png")
    page = sign_in(alice, site)
    preview_urls: list[str] = []
    page.on("requestfinished", lambda request: preview_urls.append(request.url) if "/p/" in request.url else None)
    for _time in range(2):
        page.goto(site + file.get_absolute_url(), wait_until="networkidle")
        picture = page.locator("img[src$='/preview']")
        assert picture.evaluate("image => image.naturalWidth") == 640
    assert len(set(preview_urls)) == 1


def test_text_preview_is_shown_without_running_scripts(alice: User, bucket: Bucket, site: str, sign_in: SignIn) -> None:
    file = shown(alice, b"<html><script>top.document.title = 'taken'</script>words</html>", "page.html")
    page = sign_in(alice, site)
    page.goto(site + file.get_absolute_url())
    expect(page.frame_locator("iframe").locator("body")).to_contain_text("<script>top.document.title")
    assert page.title() != "taken"
