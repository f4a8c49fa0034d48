"""The storage dashboard: totals of stored statistics, as charts with tables."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from tests.conftest import signed_in
from tests.support import factories
from uploads.admin import storage
from uploads.admin.storage import Period, Share, area, bars, columns
from uploads.models import AccessLevel, Folder, State, Statistic, StatisticDelta, StatisticKind, StatisticStatus
from uploads.services import folders

pytestmark = pytest.mark.django_db

URL = "/admin/storage/"


def chart_shares(client: Client, name: str) -> list[tuple[str, int, int]]:
    (chart,) = (chart for chart in client.get(URL).context["charts"] if chart["name"] == name)
    return [(share.label, share.files, share.bytes) for share in chart["shares"]]


def add_day(key: date, size: int) -> Statistic:
    return Statistic.objects.create(
        kind=StatisticKind.DAY, key=key.isoformat(), status=StatisticStatus.STORED, files=1, bytes=size
    )


def test_empty_library_shows_a_hint_instead_of_charts(as_admin: Client) -> None:
    page = as_admin.get(URL)
    assert page.status_code == 200
    assert b"No files yet" in page.content
    assert b"<svg class" not in page.content


def test_totals_count_stored_trashed_and_unfinished_files(alice: User, as_admin: Client) -> None:
    factories.create_file(alice, b"x" * 10)
    factories.create_file(alice, b"x" * 20, state=State.TRASHED)
    factories.create_file(alice, b"x" * 40, state=State.UPLOADING)
    totals = {share.label: (share.files, share.bytes) for share in as_admin.get(URL).context["totals"]}
    assert totals == {
        "total stored": (2, 30),
        "in the library": (1, 10),
        "previous versions": (0, 0),
        "in the trash": (1, 20),
        "unfinished": (1, 40),
    }
    assert not StatisticDelta.objects.exists(), "the page applies pending deltas first"


def test_types_and_owners_are_sorted_by_size(alice: User, bob: User, as_admin: Client) -> None:
    factories.create_file(alice, b"x" * 10, category="image")
    factories.create_file(bob, b"x" * 30, category="pdf")
    assert chart_shares(as_admin, "type") == [("PDF", 1, 30), ("Images", 1, 10)]
    assert chart_shares(as_admin, "owner") == [("bob", 1, 30), ("alice", 1, 10)]


def test_owners_beyond_the_largest_twenty_are_grouped(roles: None, as_admin: Client) -> None:
    for number in range(23):
        factories.create_file(factories.create_user(f"p{number}"), b"x" * (number + 1))
    shares = chart_shares(as_admin, "owner")
    assert len(shares) == 21
    assert shares[0] == ("p22", 1, 23)
    assert shares[-1] == ("others", 3, 1 + 2 + 3)


def test_folder_total_includes_its_subfolders(alice: User, as_admin: Client) -> None:
    created = folders.ensure(["Brand/Logos/Old", "Press"], by=alice)
    factories.create_file(alice, b"x" * 10, folder=created["Brand/Logos/Old"])
    factories.create_file(alice, b"x" * 20, folder=Folder.objects.get(name="Brand"))
    factories.create_file(alice, b"x" * 5, folder=created["Press"])
    factories.create_file(alice, b"x")
    assert chart_shares(as_admin, "folder") == [("Brand", 2, 30), ("Press", 1, 5), ("top level", 1, 1)]


def test_hidden_folders_are_grouped_as_other_folders(alice: User, admin_user: User, as_clerk: Client) -> None:
    secret = folders.create("Layoffs", parent=None, by=admin_user)
    folders.set_access(secret, {Group.objects.create(name="board"): AccessLevel.MANAGE}, by=admin_user)
    factories.create_file(admin_user, b"x" * 10, folder=secret)
    assert chart_shares(as_clerk, "folder") == [("other folders", 1, 10)]
    assert b"Layoffs" not in as_clerk.get(URL).content
    assert chart_shares(signed_in(admin_user), "folder") == [("Layoffs", 1, 10)]


@pytest.mark.parametrize(("days", "label", "periods"), [
    (10, "1 Jan 2024", 11), (59, "1 Jan 2024", 60), (200, "1 Jan 2024", 29), (900, "Jan 2024", 30), (4000, "2024", 11)
])  # fmt: skip
def test_growth_periods_depend_on_the_time_span(days: int, label: str, periods: int, db: None) -> None:
    first = date(2024, 1, 1)
    for key in (first, first + timedelta(days=days)):
        add_day(key, 100)
    growth = storage.growth()
    assert (growth[0].label, len(growth)) == (label, periods)
    assert (growth[0].total_bytes, growth[-1].total_bytes, growth[-1].total_files) == (100, 200, 2)


def test_growth_over_a_century_has_one_period_per_year(db: None) -> None:
    for year in range(1970, 2070):
        add_day(date(year, 12, 31), 1)
    assert [period.bytes for period in storage.growth()] == [1] * 100
    assert storage.growth()[-1].total_bytes == 100


def test_dashboard_requires_permission_to_view_statistics(roles: None) -> None:
    assert signed_in(factories.create_user("nobody", is_staff=True)).get(URL).status_code == 403
    assert signed_in(factories.create_user("dora", "viewers", is_staff=True)).get(URL).status_code == 403
    assert signed_in(factories.create_user("mary", "managers", is_staff=True)).get(URL).status_code == 200
    assert signed_in(factories.create_user("eve", "managers")).get(URL).status_code == 302
    assert b"/admin/storage/" not in signed_in(factories.create_user("nemo", is_staff=True)).get("/admin/").content


def test_dashboard_has_a_constant_number_of_queries(
    alice: User, as_admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    factories.create_file(alice, folder=folders.create("a", parent=None, by=alice))
    as_admin.get(URL)
    with django_assert_num_queries(15) as few:
        as_admin.get(URL)
    for number in range(30):
        owner = factories.create_user(f"p{number}", "uploaders")
        factories.create_file(owner, folder=folders.create(f"f{number}", parent=None, by=owner), category="audio",
                       available_at=datetime(2000 + number, 1, 1, tzinfo=UTC))  # fmt: skip
    with django_assert_num_queries(len(few)):
        as_admin.get(URL)


def test_dashboard_does_not_query_files(alice: User, as_admin: Client) -> None:
    factories.create_file(alice)
    with CaptureQueriesContext(connection) as queries:
        as_admin.get(URL)
    statements = [query["sql"] for query in queries]
    every_page = '"uploads_file"."owner_id" = '  # the number of own unfinished uploads
    assert statements
    assert not [sql for sql in statements if "uploads_file" in sql and every_page not in sql]


@pytest.mark.parametrize("language", ["en", "es"])
def test_charts_are_valid_svg_with_text_for_screen_readers(language: str, alice: User, as_admin: Client) -> None:
    for size in (1, 1234, 99_999):
        factories.create_file(
            alice, b"x" * size, category="image", available_at=datetime(2020 + size % 7, 1, 1, tzinfo=UTC)
        )
    page = as_admin.get(f"{URL}?range=all", headers={"Accept-Language": language}).content.decode()
    plots = re.findall(r'<svg class="plot".*?</svg>.*?</svg>', page, re.DOTALL)
    assert len(plots) == 2
    for plot in plots:
        root = ElementTree.fromstring(plot.replace("&nbsp;", " "))  # noqa: S314  (our own page)
        assert [root[0].tag, root[1].tag, root.get("role")] == ["title", "desc", "img"]
        assert len(root.findall("svg//title")) == len(storage.growth()), "each period shows its value on hover"
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert not re.search(r'\s(?:x|y|width|height|d)="[^"]*\d,\d+%', svg), "SVG allows no decimal comma"
    assert " style=" not in page


def test_range_limits_the_periods_but_not_the_totals(as_admin: Client) -> None:
    today = datetime.now(UTC).date()
    for days, size in ((0, 1), (20, 10), (80, 100), (300, 1_000), (900, 10_000)):
        add_day(today - timedelta(days=days), size)
    added = {}
    for value in ("30", "90", "365", "all", "9999", ""):
        context = as_admin.get(URL, {"range": value}).context
        added[value] = context["added"].bytes
        assert context["periods"][-1].total_bytes == 11_111
    assert added == {"30": 11, "90": 111, "365": 1_111, "all": 11_111, "9999": 1_111, "": 1_111}
    assert [len(as_admin.get(URL, {"range": value}).context["periods"]) for value in ("30", "90", "365")] == [
        30, pytest.approx(13, abs=1), pytest.approx(53, abs=1),
    ]  # fmt: skip


def test_freeable_space_is_trash_versions_and_unfinished_uploads(alice: User, as_admin: Client) -> None:
    factories.create_file(alice, b"x" * 40)
    factories.create_file(alice, b"x" * 50, state=State.TRASHED)
    factories.create_file(alice, b"x" * 10, state=State.UPLOADING)
    page = as_admin.get(URL)
    freeable = {item.share.label: (item.share.bytes, item.percent) for item in page.context["freeable"]}
    assert freeable == {"previous versions": (0, 0), "in the trash": (50, 50), "unfinished": (10, 10)}
    assert page.context["freeable_bytes"] == 60
    assert b"Deleted permanently after 30 days in the trash." in page.content


def test_each_share_links_to_its_files(alice: User, as_admin: Client) -> None:
    folder = folders.create("Brand", parent=None, by=alice)
    factories.create_file(alice, name="logo", category="image", folder=folder)
    page = as_admin.get(URL)
    links = re.findall(r'href="(/admin/uploads/file/\?(?:type|owner|folder)=[^"]+)"', page.content.decode())
    assert len(links) == 3
    for link in links:
        assert b">logo</span>" in as_admin.get(link).content, link


# --- index ------------------------------------------------------------------------------------


def test_index_begins_with_storage_and_people(alice: User, as_admin: Client, as_clerk: Client) -> None:
    factories.create_file(alice, b"x" * 10)
    for client in (as_admin, as_clerk):
        page = client.get("/admin/")
        assert page.context["totals"][0].bytes == 10
        assert page.context["app_list"][0]["app_label"] in {"auth", "uploads"}
    (people, library, tasks) = as_admin.get("/admin/").context["app_list"]
    assert [model["object_name"] for model in people["models"]] == ["User", "Group"]
    assert (library["models"][0]["object_name"], tasks["app_label"]) == ("File", "django_tasks_database")


def test_background_tasks_are_listed_for_superusers_alone(roles: None, as_admin: Client) -> None:
    url = "/admin/django_tasks_database/"
    staff = factories.create_user("tom", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_dbtaskresult"))
    client = signed_in(staff)
    assert url.encode() not in client.get("/admin/").content
    assert client.get(f"{url}dbtaskresult/").status_code == 200
    assert url.encode() in as_admin.get("/admin/").content


def test_add_forms_do_not_show_the_repr_of_database_defaults(as_admin: Client) -> None:
    for model, model_admin in admin.site._registry.items():
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
        page = as_admin.get(url)
        assert page.status_code == (200 if model_admin.has_add_permission(page.wsgi_request) else 403)
        assert b"DatabaseDefault" not in page.content


def test_empty_lists_show_a_hint(as_admin: Client) -> None:
    assert "Files appear here after their first upload." in as_admin.get("/admin/uploads/file/").content.decode()
    assert "Clear all filters" in as_admin.get("/admin/uploads/file/?q=nothing").content.decode()


def test_hostile_names_are_escaped(roles: None, as_admin: Client) -> None:
    factories.create_file(factories.create_user("<b>x</b>"))
    page = as_admin.get(URL).content
    assert b"<b>x</b>" not in page
    assert b"&lt;b&gt;x" in page


def test_post_is_not_allowed(as_admin: Client) -> None:
    assert as_admin.post(URL).status_code == 405


# --- chart shapes -----------------------------------------------------------------------------


def test_longest_bar_fills_the_chart_and_smallest_is_visible() -> None:
    chart = bars([Share("a", 1, 1000), Share("b", 1, 500), Share("c", 1, 0)])
    assert [bar.width for bar in chart] == ["100.00%", "50.00%", "0.40%"]
    assert bars([]) == []


def test_columns_fill_the_width_and_small_ones_are_visible() -> None:
    chart = columns([Period("a", 1, 1000, 1, 1000), Period("b", 1, 1, 2, 1001), Period("c", 0, 0, 2, 1001)])
    assert [column.height for column in chart] == [300, 6, 0]
    assert (chart[0].slot_x, sum(column.slot_width for column in chart)) == (0, 1000)
    assert columns([]) == []


def test_area_spans_the_chart_and_scales_to_the_maximum() -> None:
    assert area([]) is None
    chart = area([Period("a", 1, 50, 1, 50), Period("b", 1, 50, 2, 100)])
    assert chart is not None
    assert (chart.line, chart.max_bytes) == ("M0,150 L1000,0", 100)
    alone = area([Period("a", 0, 0, 0, 0)])
    assert alone is not None
    assert alone.line == "M0,300 L1000,300"
