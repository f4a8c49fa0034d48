"""The list of people: its columns, filters, permissions, and a constant number of queries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from tests.conftest import signed_in
from tests.support import factories
from uploads.accounts.people import with_details
from uploads.accounts.sessions import LAST_SEEN
from uploads.models import Action, Event

pytestmark = pytest.mark.django_db

HOSTILE = "<img src=x onerror=alert(1)>"


def names(client: Client, **query: str) -> list[str]:
    response = client.get("/people/", query)
    assert response.status_code == 200
    return [row["user"].get_username() for row in response.context["rows"]]


def test_list_shows_role_teams_storage_and_two_factor(ada: User, as_ada: Client, bob: User) -> None:
    bob.groups.add(Group.objects.create(name="press"))
    factories.create_file(bob, b"x" * 1200)
    Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={})
    (row,) = as_ada.get("/people/", {"q": "bob"}).context["rows"]
    assert (row["role"], [team.name for team in row["teams"]], row["usage"].bytes) == ("uploader", ["press"], 1200)
    assert row["user"].has_two_factor
    page = as_ada.get("/people/", {"q": "bob"}).text
    assert "1\u00a0kB of 11\u00a0TB" in page
    assert "Uploader" in page


def test_recovery_codes_alone_do_not_count_as_two_factor(as_ada: Client, bob: User) -> None:
    Authenticator.objects.create(user=bob, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert not with_details(User.objects.all()).get(pk=bob.pk).has_two_factor  # type: ignore[attr-defined]


def test_search_finds_username_name_and_address_in_any_case(as_ada: Client, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(first_name="Robert", last_name="Jones", email="rj@example.org")
    for text in ("BOB", "robert", "JONES", "rj@example", "rob jon"):
        assert names(as_ada, q=text) == ["bob"], text
    assert names(as_ada, q="rob smith") == []


def test_filters_by_role_and_status(as_ada: Client, bob: User, charlie: User, admin_user: User) -> None:
    factories.create_user("gone", "viewers", is_active=False)
    assert names(as_ada, role="administrator") == ["ada", "root"]
    assert names(as_ada, role="uploader") == ["bob"]
    assert names(as_ada, role="none") == ["charlie"]
    assert names(as_ada, status="inactive") == ["gone"]
    assert "gone" not in names(as_ada, status="active")


def test_last_seen_is_the_newest_of_sign_in_action_and_session(as_ada: Client, bob: User) -> None:
    def last_seen() -> object:
        return with_details(User.objects.all()).get(pk=bob.pk).last_seen  # type: ignore[attr-defined]

    assert last_seen() is None
    User.objects.filter(pk=bob.pk).update(last_login=timezone.now() - timedelta(days=9))
    first = last_seen()
    assert first
    Event.objects.record(Action.DOWNLOAD, by=bob)
    second = last_seen()
    assert second > first  # type: ignore[operator]
    client = signed_in(bob)
    session = client.session
    session[LAST_SEEN] = 0
    session.save()
    client.get("/tags/")
    assert last_seen() > second  # type: ignore[operator]


def test_list_has_a_constant_number_of_queries(
    as_ada: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    as_ada.get("/people/")
    with django_assert_num_queries(8) as few:
        as_ada.get("/people/")
    team = Group.objects.create(name="press")
    for number in range(20):
        factories.create_file(factories.create_user(f"more{number}", "viewers")).owner.groups.add(team)
    with django_assert_num_queries(len(few) + 1):  # for the choices of teams
        as_ada.get("/people/")


def test_list_shows_fifty_people_per_page(as_ada: Client) -> None:
    User.objects.bulk_create(User(username=f"u{number:03}") for number in range(120))
    first = as_ada.get("/people/")
    assert len(first.context["rows"]) == 50
    assert "page=2" in first.text
    assert names(as_ada, page="3")[-1] == "u119"
    assert names(as_ada, page="999") == names(as_ada, page="3")


@pytest.mark.parametrize(
    "query",
    [{"q": "%_'\u202e"}, {"q": "x" * 5000}, {"page": "x"}, {"page": "-1"}, {"role": "root"}, {"status": "\u0661"}],
)
def test_invalid_input_breaks_nothing(query: dict[str, str], as_ada: Client) -> None:
    assert as_ada.get("/people/", query).status_code == 200


def test_hostile_names_are_escaped(as_ada: Client, bob: User) -> None:
    bob.groups.add(Group.objects.create(name=HOSTILE))
    User.objects.filter(pk=bob.pk).update(first_name=HOSTILE)
    for url in ("/people/", f"/people/{bob.pk}/", "/people/teams/"):
        assert HOSTILE not in as_ada.get(url).text


@pytest.mark.parametrize("role", ["viewers", "uploaders", "managers"])
def test_people_pages_are_forbidden_to_other_roles(role: str, roles: None) -> None:
    client = signed_in(factories.create_user("someone", role))
    for url in ("/people/", "/people/teams/", "/people/invitations/"):
        assert client.get(url).status_code == 403
    assert "/people/" not in client.get("/").text


def test_navigation_links_to_people(as_ada: Client) -> None:
    assert 'href="/people/"' in as_ada.get("/").text


def test_second_factor_is_required_to_change_people_but_not_to_invite(
    as_ada: Client, bob: User, settings: Settings
) -> None:
    settings.STAFF_SECOND_FACTOR = True
    assert as_ada.get("/people/").status_code == 200
    for url in (f"/people/{bob.pk}/", "/people/teams/"):
        response = as_ada.get(url)
        assert response.status_code == 302
        assert response.headers["Location"] == "/accounts/factor/add/"
    as_ada.post(f"/people/{bob.pk}/role", {"role": "viewer"})
    assert bob.groups.get().name == "uploaders"
    assert as_ada.post("/people/", {"role": "uploader"}).status_code == 200
    team = Group.objects.create(name="press")
    assert as_ada.post("/people/", {"role": "administrator"}).status_code == 302
    assert as_ada.post("/people/", {"role": "viewer", "teams": [team.pk]}).status_code == 302
