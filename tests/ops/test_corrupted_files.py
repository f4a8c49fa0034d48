"""Corrupted and missing files: what users see, and what they can download."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads.models import ChecksumStatus, Event, File


@pytest.fixture
def file(as_alice: Client, bucket: Bucket) -> File:
    return UploadClient(as_alice).send(b"words", name="report.txt")


def page(client: Client, file: File) -> str:
    response = client.get(file.get_absolute_url())
    assert response.status_code == 200
    return response.content.decode()


def note(file: File, status: ChecksumStatus) -> None:
    File.objects.filter(pk=file.pk).update(checksum_status=status)


def test_intact_file_shows_no_warning(file: File, as_alice: Client) -> None:
    assert "message error" not in page(as_alice, file)


def test_corrupted_file_has_a_warning_and_can_be_downloaded(file: File, as_alice: Client) -> None:
    note(file, ChecksumStatus.CORRUPTED)
    text = page(as_alice, file)
    assert 'role="alert"' in text
    assert "This file is corrupted." in text
    assert "Download anyway" in text
    assert as_alice.get(reverse("download", args=[file.pk])).status_code == 302


def test_page_of_a_missing_file_has_no_download_link(file: File, as_alice: Client) -> None:
    note(file, ChecksumStatus.MISSING)
    text = page(as_alice, file)
    assert "This file is missing from storage." in text
    assert reverse("download", args=[file.pk]) not in text


@pytest.mark.parametrize("query", ["", "?inline=1"])
def test_download_of_missing_object_explains_the_error(file: File, as_alice: Client, query: str) -> None:
    note(file, ChecksumStatus.MISSING)
    response = as_alice.get(reverse("download", args=[file.pk]) + query)
    assert response.status_code == 410
    assert "report.txt" in response.content.decode()
    assert "Tell an administrator" in response.content.decode()
    assert response["Cache-Control"] == "private, no-store"
    assert not Event.objects.filter(action="download").exists()


def test_missing_object_is_not_disclosed_without_permission(file: File, as_charlie: Client) -> None:
    note(file, ChecksumStatus.MISSING)
    assert as_charlie.get(reverse("download", args=[file.pk])).status_code == 404


def test_missing_older_version_is_marked(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    first = upload_client.send(b"one")
    second = upload_client.send(b"second", replaces=first.pk)
    note(first, ChecksumStatus.MISSING)
    assert "missing" in page(as_alice, second)
    assert as_alice.get(reverse("download_version", args=[second.permanent_id, first.pk])).status_code == 410
    assert as_alice.get(reverse("download", args=[second.permanent_id])).status_code == 302


def test_file_without_checksum_shows_no_checksum(file: File, as_alice: Client) -> None:
    File.objects.filter(pk=file.pk).update(checksum="", checksum_status=ChecksumStatus.UNVERIFIED, origin="imported")
    assert "not verified yet" in page(as_alice, file)
    assert 'class="checksum"' not in page(as_alice, file)


@pytest.mark.parametrize("status", [ChecksumStatus.CORRUPTED, ChecksumStatus.MISSING, ChecksumStatus.UNVERIFIED])
def test_admin_filters_files_by_checksum_status(
    file: File, alice: User, as_alice: Client, as_admin: Client, status: ChecksumStatus
) -> None:
    other = UploadClient(as_alice).send(b"other", name="other.txt")
    note(other, ChecksumStatus.VERIFIED)
    note(file, status)
    response = as_admin.get(reverse("admin:uploads_file_changelist"), {"checksum_status": status.value})
    assert [row.pk for row in response.context["cl"].result_list] == [file.pk]
