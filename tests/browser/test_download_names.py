"""A downloaded file keeps its name in Chromium, including special characters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page

from tests.support import factories
from tests.support.stores import Bucket

NAMES = [
    "100%25 done.txt",
    "a%2Fb.txt",
    "100% sure.txt",
    "=?utf-8?q?hi?=.txt",
    "=?utf-8?b?aGk=?= there.txt",
    "a=b; filename=c.txt",
    "it's (a) [b].txt",
    "報告書 2024.docx",
    "مشروع.pdf",
    "é%C3%A9.txt",
]


@pytest.mark.django_db(transaction=True)
def test_downloads_keep_names(
    alice: User, bucket: Bucket, small_parts_site: str, sign_in: Callable[[User, str], Page]
) -> None:
    page = sign_in(alice, small_parts_site)
    page.goto(f"{small_parts_site}/")
    saved = {}
    for name in NAMES:
        file = factories.create_file(alice, b"x", bucket=bucket, name=name)
        with page.expect_download() as download:
            page.evaluate("address => { location = address }", reverse("download", args=[file.pk]))
        saved[name] = download.value.suggested_filename
    # Chromium replaces a question mark, which Windows does not allow, with "_"
    assert saved == {name: name.replace("?", "_") for name in NAMES}
