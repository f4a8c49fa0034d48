"""Every route and verb for guests: below their link as in the table, elsewhere like anonymous users."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.support import form_client
from tests.support.account_routes import VERBS
from tests.support.form_client import Chosen, Form
from tests.support.guest_routes import GUEST_ROUTES
from tests.support.guests import GuestClient
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, sha256
from tests.views.test_routes import TABLE, RouteRequest, expected_status, status_of

pytestmark = pytest.mark.django_db


class GuestRequest:
    """One request to a route below the link, for an upload of the guest."""

    def __init__(self, route: str, token: str, upload: Upload) -> None:
        arguments = (
            [token, upload.id]
            if route in {"guest_upload_detail", "guest_sign_parts", "cancel_guest_upload"}
            else [token]
        )
        self.route, self.upload, self.url = route, upload, reverse(route, args=arguments)

    def by(self, client: Client, verb: str, **headers: str) -> Any:
        body, content_type = self.body() if verb == "POST" else (b"", "application/octet-stream")
        return client.generic(verb, self.url, body, content_type, headers=headers or None)

    def body(self) -> tuple[bytes, str]:
        if self.route == "guest_upload":
            return Form([Chosen("a.txt")]).body(), form_client.MULTIPART
        calls: dict[str, object] = {
            "guest_uploads": {"files": [{"token": str(uuid.uuid4()), "name": "a.txt", "size": 5}]},
            "guest_sign_parts": {"parts": [{"number": 1, "sha256": sha256(b"hello")}]},
            "guest_finish": {"files": [{"id": str(self.upload.id), "sha256": [sha256(b"hello")]}]},
        }
        if self.route in calls:
            return json.dumps(calls[self.route]).encode(), "application/json"
        return b"", "application/x-www-form-urlencoded"


@pytest.mark.parametrize("route", GUEST_ROUTES)
def test_statuses_match_the_table(route: str, guest: GuestClient, bob: User, as_bob: Client, bucket: Bucket) -> None:
    wrong = {}
    for who, client in (("guest", guest.client), ("stranger", None), ("member", as_bob)):
        for verb in VERBS:
            request = GuestRequest(route, guest.token, guest.start(b"hello"))
            expected = dict(zip(("guest", "stranger"), GUEST_ROUTES[route].get(verb, "405 405").split(), strict=True))
            actual = str(request.by(client or Client(), verb).status_code)
            as_bob.cookies.pop("amalga-guest", None)  # a member who has sent nothing here
            if actual != expected["guest" if who == "guest" else "stranger"]:
                wrong[f"{who} {verb}"] = f"{actual}, not {expected}"
    assert wrong == {}


@pytest.mark.parametrize("route", TABLE)
@pytest.mark.slow
def test_guest_session_has_no_effect_on_other_routes(
    route: str, guest: GuestClient, bucket: Bucket, admin_user: User
) -> None:
    guest.start(b"hello")
    wrong = {}
    for verb in VERBS:
        actual = status_of(RouteRequest(route, bucket).by(guest.client, verb))
        if actual != expected_status(route, verb, "anonymous"):
            wrong[verb] = actual
    assert wrong == {}


def test_guest_changes_require_a_csrf_token(guest: GuestClient) -> None:
    upload = guest.start(b"hello")
    checked = Client(enforce_csrf_checks=True)
    checked.cookies = guest.client.cookies
    changing = [(route, verb) for route, verbs in GUEST_ROUTES.items() for verb in ("POST", "DELETE") if verb in verbs]
    for route, verb in changing:
        assert GuestRequest(route, guest.token, upload).by(checked, verb).status_code == 403, route
    token = str(checked.get(guest.page_url).context["csrf_token"])
    response = GuestRequest("guest_upload_detail", guest.token, upload).by(checked, "DELETE", **{"X-CSRFToken": token})
    assert response.status_code == 204


def test_cookie_without_the_link_opens_no_request(guest: GuestClient, bucket: Bucket) -> None:
    """Each call requires the link, so a leaked cookie alone is useless."""
    upload = guest.start(b"hello")
    for route in GUEST_ROUTES:
        verb = next(iter(GUEST_ROUTES[route]))
        assert GuestRequest(route, "B" * 32, upload).by(guest.client, verb).status_code == 404
