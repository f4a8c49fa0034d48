"""Reports of commands in the admin."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from tests.support import factories
from uploads.models import Finding, FindingKind, Origin, Report, RunOutcome, Visibility

pytestmark = pytest.mark.django_db

LIST = "/admin/uploads/report/"
SIDE = {"count": 1234567, "bytes": 5 * 1024**3, "sha256": "a" * 64}


def create_report(outcome: RunOutcome = RunOutcome.DIFFERENCES, **summary: Any) -> Report:
    summary_data = {
        "rows": SIDE,
        "objects": SIDE,
        "skipped": {"young": 3},
        "findings": {"missing": 2},
        "seconds": 4.5,
        **summary,
    }
    report = Report.objects.create(command="fsck")
    report.end(outcome, **summary_data)
    return report


def report_url(report: Report) -> str:
    return reverse("admin:uploads_report_change", args=[report.pk])


def test_report_is_shown_as_text(as_clerk: Client) -> None:
    page = as_clerk.get(report_url(create_report())).content.decode()
    for text in ("1,234,567 objects", "a" * 64, "equal", "3 too new to check", "Differences"):
        assert text in page


def test_different_sides_are_not_shown_as_equal(as_clerk: Client) -> None:
    page = as_clerk.get(report_url(create_report(objects={**SIDE, "sha256": "b" * 64}))).content.decode()
    assert "different" in page
    assert ">equal<" not in page


def test_findings_link_only_to_existing_files(alice: User, as_clerk: Client) -> None:
    report, file, deleted_id = create_report(), factories.create_file(alice), uuid.uuid4()
    for number, pk in enumerate([file.pk, deleted_id, None]):
        Finding.objects.create(report=report, kind=FindingKind.MISSING, key=f"f/{number}", file_id=pk)
    page = as_clerk.get(report_url(report)).content.decode()
    assert reverse("admin:uploads_file_change", args=[file.pk]) in page
    assert str(deleted_id) not in page


IMPORTED = "hr/Dismissal of Bob.pdf"


@pytest.fixture
def private_report(alice: User) -> Report:
    file = factories.create_file(alice, origin=Origin.IMPORTED, key=IMPORTED, visibility=Visibility.PRIVATE)
    report = create_report(since=IMPORTED)
    Finding.objects.create(
        report=report, kind=FindingKind.SIZE_MISMATCH, key=IMPORTED, file_id=file.pk, detail={"at": IMPORTED}
    )
    Finding.objects.create(report=report, kind=FindingKind.FOREIGN, key="f/Dismissal of Bob.pdf")
    Report.objects.create(command="import_bucket", scope="hr/Dismissal")
    return report


def test_names_of_private_files_are_hidden_from_managers(private_report: Report, as_clerk: Client) -> None:
    pages = [as_clerk.get(url).content.decode() for url in (report_url(private_report), LIST)]
    assert not any("Dismissal" in page for page in pages)
    import_report = Report.objects.get(command="import_bucket")
    assert as_clerk.get(report_url(import_report)).status_code in {302, 404}


def test_superuser_sees_every_key(private_report: Report, as_admin: Client) -> None:
    page = as_admin.get(report_url(private_report)).content.decode()
    assert IMPORTED in page
    assert "f/Dismissal of Bob.pdf" in page


def test_findings_are_filtered_by_kind_and_paginated(
    as_clerk: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    report = create_report()
    Finding.objects.bulk_create(
        Finding(report=report, kind=FindingKind.ORPHAN, key=f"f/{number:03}") for number in range(120)
    )
    Finding.objects.create(report=report, kind=FindingKind.SIZE_MISMATCH, key="f/beef")
    assert listed_keys(as_clerk, report, kind="size_mismatch") == ["f/beef"]
    assert listed_keys(as_clerk, report, kind="orphan", p="3") == [f"f/{number:03}" for number in range(100, 120)]
    with django_assert_max_num_queries(10):
        assert len(listed_keys(as_clerk, report)) == 50


def listed_keys(client: Client, report: Report, **query: str) -> list[str]:
    return [finding.key for finding in client.get(report_url(report), query).context["page"].object_list]


def test_invalid_queries_cause_no_server_errors(as_clerk: Client) -> None:
    url = report_url(create_report())
    for query in ({"p": "9" * 30}, {"p": "x"}, {"p": "-1"}):
        assert as_clerk.get(url, query).status_code == 200, query
    assert as_clerk.get(url, {"kind": "x"}).status_code == 404
    assert as_clerk.get(url, {"kind": "'\x00"}).status_code == 400


def test_keys_and_reasons_are_escaped(as_clerk: Client) -> None:
    report = create_report(reason="<b>reason</b>")
    Finding.objects.create(report=report, kind=FindingKind.FOREIGN, key="f/<script>alert(1)</script>")
    page = as_clerk.get(report_url(report)).content.decode()
    assert "<script>alert" not in page
    assert "<b>reason" not in page


def test_reports_of_other_commands_show_their_summary(as_clerk: Client) -> None:
    report = Report.objects.create(command="verify", outcome="succeeded", summary={"files_read": 12345, "by": {"a": 1}})
    page = as_clerk.get(report_url(report)).content.decode()
    assert "Files read" in page
    assert "12,345" in page
    assert as_clerk.get(LIST).status_code == 200


def test_the_list_is_filtered_by_outcome(as_clerk: Client) -> None:
    differing, agreed = create_report(), create_report(RunOutcome.SUCCEEDED, findings={})
    rows = as_clerk.get(LIST, {"outcome": "succeeded"}).context["cl"].result_list
    assert [row.pk for row in rows] == [agreed.pk]
    assert [row.pk for row in as_clerk.get(LIST).context["cl"].result_list] == [agreed.pk, differing.pk]


def test_reports_cannot_be_added_changed_or_deleted(as_admin: Client) -> None:
    report = create_report()
    as_admin.post(report_url(report), {"command": "x", "_save": "1"})
    as_admin.post(reverse("admin:uploads_report_delete", args=[report.pk]), {"post": "yes"})
    assert as_admin.get(reverse("admin:uploads_report_add")).status_code == 403
    assert Report.objects.get().command == "fsck"


def test_dashboard_shows_the_last_complete_comparison(as_clerk: Client) -> None:
    assert "been compared yet" in as_clerk.get("/admin/storage/").content.decode()
    create_report(RunOutcome.SUCCEEDED)
    Report.objects.create(command="fsck", scope="f/0", outcome="differences", ended_at=Now())
    Report.objects.create(command="fsck", outcome="stopped", ended_at=Now())
    page = as_clerk.get("/admin/storage/").content.decode()
    assert "succeeded" in page
    assert "/admin/uploads/report/" in page
