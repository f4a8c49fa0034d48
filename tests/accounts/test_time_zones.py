"""Times are shown in the time zone that a person chose, otherwise in the browser's, otherwise in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support import factories
from tests.support.file_rows import create_row
from uploads.models import File, Preference, State

pytestmark = pytest.mark.django_db

ZONE_URL = "/accounts/security/time-zone/"


@pytest.fixture
def file(alice: User) -> File:
    file = create_row(alice, State.AVAILABLE, name="late.txt")
    File.objects.update(available_at=datetime(2024, 1, 1, 2, 30, tzinfo=UTC))
    return file


def shown(client: Client, path: str = "/") -> str:
    return client.get(path).content.decode()


def test_times_use_the_zone_of_the_browser(file: File, as_alice: Client) -> None:
    assert "1 Jan 2024 2:30:00 UTC" in shown(as_alice)
    as_alice.cookies["timezone"] = "America/New_York"
    assert "31 Dec 2023 21:30:00 EST" in shown(as_alice)
    as_alice.cookies["timezone"] = "Asia/Tokyo"  # the list is cached, but not for other zones
    assert "1 Jan 2024 11:30:00 JST" in shown(as_alice)
    assert "1 Jan 2024 11:30:00 JST" in shown(as_alice, file.get_absolute_url())


@pytest.mark.parametrize("name", ["", "Nowhere/City", "../../etc/passwd", "EST5EDT", "a" * 3_000, "Europe/"])
def test_unknown_zone_falls_back_to_utc(name: str, file: File, as_alice: Client) -> None:
    as_alice.cookies["timezone"] = name
    assert "1 Jan 2024 2:30:00 UTC" in shown(as_alice)
    assert as_alice.post(ZONE_URL, {"time_zone": name}).status_code == (400 if name else 302)


def test_chosen_zone_applies_in_other_browsers(file: File, alice: User, as_alice: Client, client: Client) -> None:
    as_alice.cookies["timezone"] = "America/New_York"
    as_alice.post(ZONE_URL, {"time_zone": "Europe/Madrid"})
    assert "1 Jan 2024 3:30:00 CET" in shown(as_alice)
    assert "<option selected>Europe/Madrid</option>" in shown(as_alice, "/accounts/security/")
    client.post("/accounts/login/", {"username": alice.username, "password": "correct horse battery staple"})
    assert "1 Jan 2024 3:30:00 CET" in shown(client)
    as_alice.post(ZONE_URL, {"time_zone": ""})
    assert "31 Dec 2023 21:30:00 EST" in shown(as_alice)
    assert Preference.objects.get().time_zone == ""


def test_zone_of_one_request_does_not_reach_the_next(file: File, as_alice: Client, as_bob: Client) -> None:
    as_alice.post(ZONE_URL, {"time_zone": "Asia/Tokyo"})
    shown(as_alice)
    assert "1 Jan 2024 2:30:00 UTC" in shown(as_bob)


def test_account_page_shows_the_storage_of_its_user(
    alice: User, as_alice: Client, as_bob: Client, as_viewer: Client
) -> None:
    factories.create_file(alice, b"x" * 1200)
    assert "1\u00a0kB of 11\u00a0TB used, by 1 file." in as_alice.get("/accounts/security/").text
    assert "0\u00a0B of 11\u00a0TB used" in as_bob.get("/accounts/security/").text
    assert "11\u00a0TB used" not in as_viewer.get("/accounts/security/").text
