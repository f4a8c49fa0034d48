"""The installable web app without a browser: manifest, service worker, and the answer to shares without the worker."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.conftest import PROJECT, signed_in
from tests.support.form_client import MULTIPART, Chosen, Form
from tests.support.pictures import opened
from tests.support.web_app_routes import WEB_APP_ROUTES

pytestmark = pytest.mark.django_db

SCRIPTS = PROJECT / "uploads" / "static" / "uploads" / "js"


@pytest.mark.parametrize("route", WEB_APP_ROUTES)
def test_everyone_gets_the_expected_status(route: str, as_alice: Client, as_viewer: Client) -> None:
    clients = {"anonymous": Client(), "alice": as_alice, "viewer": as_viewer}
    for name, client in clients.items():
        statuses = {verb: client.generic(verb, reverse(route)).status_code for verb in WEB_APP_ROUTES[route]}
        assert statuses == WEB_APP_ROUTES[route], name


def manifest() -> dict[str, Any]:
    response = Client().get(reverse("manifest"))
    assert response.headers["Content-Type"] == "application/manifest+json"
    content: dict[str, Any] = json.loads(response.content)
    return content


def test_manifest_has_icons_of_the_declared_sizes(as_alice: Client) -> None:
    icons = {(icon["sizes"], icon["purpose"]): icon for icon in manifest()["icons"]}
    assert {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")} <= set(icons)
    for (size, _purpose), icon in icons.items():
        response: Any = as_alice.get(icon["src"])
        body = b"".join(response.streaming_content)
        if icon["type"] == "image/png":
            assert f"{opened(body).width}x{opened(body).height}" == size
        assert response.headers["Content-Type"] == icon["type"]


def test_maskable_icon_is_opaque_to_its_corners() -> None:
    icon = opened((PROJECT / "uploads/static/uploads/icon-maskable-512.png").read_bytes())
    assert {icon.convert("RGBA").getpixel(corner) for corner in ((0, 0), (511, 0), (0, 511), (511, 511))} == {
        (15, 118, 110, 255)
    }


def test_manifest_has_the_colors_of_the_styles() -> None:
    styles = (PROJECT / "uploads/static/uploads/amalga.css").read_text()
    colors = dict(re.findall(r"--(surface|background): light-dark\((#\w+), (?:#\w+)\)", styles))
    content = manifest()
    assert (content["theme_color"], content["background_color"]) == (colors["surface"], colors["background"])


def test_page_has_the_theme_color_of_each_scheme(client: Client) -> None:
    styles = (PROJECT / "uploads/static/uploads/amalga.css").read_text()
    surface = re.search(r"--surface: light-dark\((#\w+), (#\w+)\)", styles)
    assert surface
    page = client.get(reverse("login")).content.decode()
    assert re.findall(r'name="theme-color" content="(#\w+)" media="\(prefers-color-scheme: (\w+)\)"', page) == [
        (surface[1], "light"), (surface[2], "dark"),
    ]  # fmt: skip


def test_share_target_is_in_the_scope_of_its_worker() -> None:
    target = manifest()["share_target"]
    assert (target["method"], target["enctype"]) == ("POST", "multipart/form-data")
    assert target["action"].startswith(reverse("share_worker").rpartition("/")[0] + "/")
    response = Client().get(reverse("share_worker"))
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert response.content == (SCRIPTS / "share-worker.js").read_bytes()


def test_worker_and_page_agree_on_the_store() -> None:
    constants = [
        set(re.findall(r"^const (?:STORE|FILES_PATH|EXPIRY_MS) = .+;$", (SCRIPTS / name).read_text(), re.MULTILINE))
        for name in ("share-worker.js", "share-target.js")
    ]
    assert len(constants[0]) == 3
    assert constants[0] == constants[1]


def test_content_security_policy_allows_manifest_and_worker_of_this_site(client: Client) -> None:
    policy = client.get(reverse("login")).headers["Content-Security-Policy"]
    assert "manifest-src 'self'" in policy
    assert "worker-src" not in policy  # so that script-src is used (CSP Level 3, 6.1.15)
    assert "script-src 'self'" in policy


class Unreadable:
    """A body that fails the test when it is read."""

    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@pytest.mark.parametrize("length", [5, settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1, 10**12])
@pytest.mark.parametrize("is_signed_in", [False, True])
def test_share_without_worker_gets_a_page_and_its_body_is_not_read(
    length: int, is_signed_in: bool, alice: User
) -> None:
    client = signed_in(alice) if is_signed_in else Client()
    client.handler.enforce_csrf_checks = True
    body: dict[str, Any] = {"CONTENT_LENGTH": str(length), "wsgi.input": Unreadable()}
    response = client.post(reverse("share_target"), content_type=MULTIPART, **body)
    assert response.status_code == 409
    assert b"Open Amalga once, then share again" in response.content


def test_share_of_another_page_is_still_limited(as_alice: Client) -> None:
    """Without this, the test above could pass because nothing is limited."""
    body = Form([Chosen("a.txt")]).body() + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert as_alice.post(reverse("bulk"), body, content_type=MULTIPART).status_code == 413


@pytest.mark.parametrize(
    ("result", "text"), [("none", b"shared no file"), ("failed", b"keep the shared files"), ("files", b""), ("x", b"")]
)
def test_library_says_why_shared_files_are_missing(result: str, text: bytes, as_alice: Client) -> None:
    page = as_alice.get("/", {"shared": result}).content
    assert text in page
    assert (b'class="message warning"' in page) is bool(text)


@pytest.mark.parametrize("name", ["as_viewer", "as_charlie"])
def test_people_who_cannot_upload_see_that_shared_files_are_removed(
    name: str, request: pytest.FixtureRequest, charlie: User
) -> None:
    client = signed_in(charlie) if name == "as_charlie" else request.getfixturevalue(name)
    page = client.get("/", {"shared": "files"}).content.decode()
    assert "You don&#x27;t have permission to upload, so the shared files were removed." in page
    assert 'name="share-target" content=""' in page


def test_page_of_an_uploader_names_worker_and_person(alice: User, as_alice: Client, client: Client) -> None:
    assert (
        f'name="share-target" content="{reverse("share_worker")}" data-user="{alice.pk}"'
        in as_alice.get("/").content.decode()
    )
    assert b"share-target" not in client.get(reverse("login")).content


def test_cached_head_has_nothing_of_another_person(alice: User, bob: User) -> None:
    for user in (alice, bob, alice):
        client = Client()
        client.force_login(user)
        assert f'data-user="{user.pk}"' in client.get(reverse("library")).content.decode()
    assert b"data-user" not in Client().get(reverse("login")).content
