"""Notifications: created once where something happens, mailed once by the worker, and deleted when they are old."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError
from django.utils import timezone, translation
from pytest_django import Settings

from tests.conftest import person, signed_in
from tests.support import factories
from tests.support.guests import GuestClient, create_request
from tests.support.mail import run_worker
from tests.support.smtp_server import SmtpServer
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.verification import verify_file
from uploads.accounts.roles import set_teams
from uploads.models import (
    File,
    Folder,
    Heartbeat,
    Notification,
    NotificationKind,
    NotificationPreference,
    Preference,
    ShareLink,
    Usage,
    Visibility,
    create_link,
)
from uploads.models.querysets import seconds_from_now
from uploads.services import notifications
from uploads.services.fsck import RunObserver, Scope, fsck
from uploads.services.notifications import describe, notify, notify_operators
from uploads.services.sweep import sweep

pytestmark = pytest.mark.django_db

KIND = NotificationKind.QUOTA_LOW


@pytest.fixture
def mailed(alice: User, mail_server: SmtpServer) -> SmtpServer:
    """Alice has an address, and there is a mail server."""
    alice.email = "alice@example.org"
    alice.save()
    return mail_server


def kinds_of(user: User) -> list[str]:
    return list(Notification.objects.filter(user=user).order_by("pk").values_list("kind", flat=True))


def text_of(user: User) -> str:
    (message,) = describe(Notification.objects.shown_to(user), user)
    return message.text


# --- deduplication --------------------------------------------------------------------------------


def test_a_user_is_notified_once_of_each_key(alice: User, bob: User) -> None:
    assert notify(alice, KIND, key="a") is True
    assert notify(alice, KIND, key="a") is False
    assert notify(alice, KIND, key="b") is True
    assert notify(bob, KIND, key="a") is True
    assert Notification.objects.count() == 3


def test_inactive_users_are_not_notified(alice: User) -> None:
    alice.is_active = False
    assert notify(alice, KIND, key="a") is False


def test_unseen_notifications_of_one_kind_are_limited_to_a_hundred(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "MAX_UNSEEN", 3)
    assert [notify(alice, KIND, key=str(number)) for number in range(5)] == [True, True, True, False, False]
    Notification.objects.shown_to(alice).mark_read()
    assert notify(alice, KIND, key="5") is True


def test_operators_are_administrators_and_superusers(alice: User, admin_user: User, manager: User) -> None:
    administrator = person("ada", "administrators")
    person("former", "administrators")
    User.objects.filter(username="former").update(is_active=False)
    notify_operators(NotificationKind.DRIFT_FOUND, key="a")
    assert set(Notification.objects.values_list("user__username", flat=True)) == {"root", administrator.username}


# --- preferences ----------------------------------------------------------------------------------


def test_disabled_notification_is_not_created(alice: User, mailed: SmtpServer) -> None:
    NotificationPreference.objects.set(alice, {KIND: (False, False)})
    assert notify(alice, KIND, key="a") is False
    run_worker()
    assert mailed.mails == []


def test_mail_only_notification_is_not_shown_in_the_app(alice: User, mailed: SmtpServer) -> None:
    NotificationPreference.objects.set(alice, {KIND: (False, True)})
    notify(alice, KIND, key="a")
    run_worker()
    assert len(mailed.mails) == 1
    assert not Notification.objects.shown_to(alice).exists()
    assert Notification.objects.shown_to(alice).unseen().count() == 0


def test_app_only_notification_sends_no_mail(alice: User, mailed: SmtpServer) -> None:
    NotificationPreference.objects.set(alice, {KIND: (True, False)})
    notify(alice, KIND, key="a")
    run_worker()
    assert mailed.mails == []
    assert Notification.objects.shown_to(alice).unseen().count() == 1


def test_mail_that_is_turned_off_while_it_waits_is_not_sent(alice: User, mailed: SmtpServer) -> None:
    notify(alice, KIND, key="a")
    NotificationPreference.objects.set(alice, {KIND: (True, False)})
    run_worker()
    assert mailed.mails == []


# --- mail -----------------------------------------------------------------------------------------


def test_mail_has_a_text_a_link_and_the_settings_url(alice: User, mailed: SmtpServer) -> None:
    file = factories.create_file(alice, name="report.pdf")
    notify(alice, NotificationKind.FILE_CORRUPTED, key="a", file=str(file.permanent_id))
    run_worker()
    (sent,) = mailed.mails
    assert sent.recipient == "alice@example.org"
    assert sent.message["Subject"] == "A file is corrupted"
    for text in (sent.text(), sent.text("html")):
        assert "“report.pdf” is corrupted" in text
        assert f"https://files.example.org/files/{file.permanent_id}/" in text
        assert "https://files.example.org/notifications/settings/" in text


def test_a_mail_is_sent_once(alice: User, mailed: SmtpServer) -> None:
    notify(alice, KIND, key="a")
    (row,) = Notification.objects.all()
    run_worker()
    notifications.mail_notification.call(row.pk)
    run_worker()
    assert len(mailed.mails) == 1


def test_a_mail_is_in_the_language_of_the_user(alice: User, mailed: SmtpServer) -> None:
    Preference.objects.set_language(alice, "es")
    notify(alice, KIND, key="a")
    run_worker()
    assert 'lang="es"' in mailed.mails[0].text("html")


@pytest.mark.parametrize(("language", "zone", "expected"), [
    ("es", "Europe/Madrid", "1 de julio de 2026 a las 18:05 CEST"), ("en", "", "July 1, 2026, 4:05 p.m. UTC"),
    ("en", "Gone/Nowhere", "July 1, 2026, 4:05 p.m. UTC"),
])  # fmt: skip
def test_dates_in_a_mail_are_in_the_language_and_time_zone_of_the_user(
    alice: User, mailed: SmtpServer, language: str, zone: str, expected: str
) -> None:
    Preference.objects.create(user=alice, language=language, time_zone=zone)
    notify(alice, NotificationKind.LINK_EXPIRING, key="a", name="3 files", expires_at="2026-07-01T16:05:00+00:00")
    run_worker()
    assert expected in mailed.mails[0].text("plain")
    assert expected in mailed.mails[0].text("html")


def test_a_name_that_the_user_may_no_longer_see_is_not_in_the_mail(alice: User, bob: User, mailed: SmtpServer) -> None:
    file = factories.create_file(bob, name="secret.pdf", visibility=Visibility.TEAM)
    notify(alice, NotificationKind.FILE_CORRUPTED, key="a", file=str(file.permanent_id))
    File.objects.update(visibility=Visibility.PRIVATE)
    run_worker()
    (sent,) = mailed.mails
    assert "secret" not in sent.text()
    assert str(file.permanent_id) not in sent.text()


def test_mails_of_one_kind_are_limited(alice: User, mailed: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "MAX_MAILS_A_DAY", 2)
    for number in range(4):
        notify(alice, KIND, key=str(number))
    run_worker()
    assert len(mailed.mails) == 2
    assert Notification.objects.shown_to(alice).unseen().count() == 4


def test_no_mail_is_sent_without_an_address_or_a_mail_server(
    alice: User, bob: User, mailed: SmtpServer, settings: Settings
) -> None:
    notify(bob, KIND, key="a")
    settings.EMAIL_IS_CONFIGURED = False
    notify(alice, KIND, key="a")
    run_worker()
    assert mailed.mails == []
    assert Notification.objects.count() == 2


# --- kinds of notifications -----------------------------------------------------------------------


@pytest.fixture
def corrupted(alice: User, bucket: Bucket) -> File:
    file = factories.create_file(alice, bucket=bucket, name="report.pdf")
    bucket.write(file.key, b"other")
    return file


def test_corrupted_file_notifies_its_owner_and_managers(corrupted: File, alice: User, bob: User, manager: User) -> None:
    verify_file(corrupted)
    verify_file(File.objects.get())
    assert kinds_of(alice) == kinds_of(manager) == ["file_corrupted"]
    assert kinds_of(bob) == []
    assert text_of(manager) == "“report.pdf” is corrupted: its content has changed in storage."


def test_corrupted_private_file_notifies_its_owner_alone(corrupted: File, alice: User, manager: User) -> None:
    File.objects.update(visibility=Visibility.PRIVATE)
    verify_file(File.objects.get())
    assert (kinds_of(alice), kinds_of(manager)) == (["file_corrupted"], [])


def test_missing_file_notifies_its_owner(alice: User, bucket: Bucket) -> None:
    verify_file(factories.create_file(alice, name="report.pdf"))
    assert text_of(alice) == "The content of “report.pdf” is missing from storage."


def test_file_that_is_corrupted_and_then_hidden_is_not_named(corrupted: File, alice: User, manager: User) -> None:
    verify_file(corrupted)
    File.objects.update(visibility=Visibility.PRIVATE)
    assert text_of(manager) == "A file that you can no longer see is corrupted."


def test_drift_notifies_operators_once_a_day(admin_user: User, alice: User, bucket: Bucket) -> None:
    bucket.write("f/" + "0" * 32, b"orphan")
    for _ in range(2):
        fsck(Scope(store="", grace=0), RunObserver(), allow_empty_database=True)
    assert kinds_of(admin_user) == ["drift"]
    assert text_of(admin_user) == "fsck found 1 difference between storage and database."
    assert kinds_of(alice) == []


def test_comparison_in_sync_notifies_no_one(admin_user: User, bucket: Bucket) -> None:
    fsck(Scope(store="", grace=0), RunObserver())
    assert kinds_of(admin_user) == []


@pytest.mark.parametrize(("quota", "kinds"), [(100, []), (98, ["quota_low"])])
def test_upload_that_uses_90_percent_notifies_its_owner_once(
    upload_client: UploadClient, alice: User, quota: int, kinds: list[str]
) -> None:
    Usage.objects.create(owner=alice, quota_bytes=quota)
    upload_client.send(b"x" * 89)
    assert kinds_of(alice) == kinds
    upload_client.send(b"x")
    assert kinds_of(alice) == ["quota_low"]
    assert text_of(alice).startswith("You have used 9" if quota == 98 else "You have used 90 %")


def test_quota_warning_works_with_the_largest_quota(alice: User) -> None:
    Usage.objects.create(owner=alice, bytes=2**62, quota_bytes=2**62, quota_files=2**62)
    notifications.warn_of_quota({alice.pk})
    assert kinds_of(alice) == ["quota_low"]


def test_upload_succeeds_if_its_owner_cannot_be_notified(
    upload_client: UploadClient, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    Usage.objects.create(owner=alice, quota_bytes=1)
    Usage.objects.update(quota_bytes=10)
    with mock.patch.object(notifications, "notify", side_effect=DatabaseError):
        upload_client.send(b"x" * 10)
    assert "notification_not_saved kind=quota_low" in caplog.text
    assert File.objects.available().count() == 1


def test_sweep_that_stopped_notifies_operators_once_for_each_outage(admin_user: User) -> None:
    late = seconds_from_now(-notifications.SWEEP_LATE.total_seconds() - 60)
    Heartbeat.objects.create(name="sweep", at=late)
    notifications.warn_of_sweep()
    notifications.warn_of_sweep()
    assert kinds_of(admin_user) == ["sweep_overdue"]
    assert text_of(admin_user).startswith("The sweep has not run since ")


def test_sweep_that_never_ran_is_reported(admin_user: User) -> None:
    notifications.warn_of_sweep()
    assert text_of(admin_user) == "The sweep has never run. Nothing expires until it does."


def test_running_sweep_is_not_reported(admin_user: User, bucket: Bucket) -> None:
    sweep()
    notifications.warn_of_sweep()
    assert kinds_of(admin_user) == []


@pytest.mark.parametrize("kind", NotificationKind)
@pytest.mark.parametrize("language", ["en", "es"])
def test_every_kind_has_a_text_without_any_data(alice: User, kind: NotificationKind, language: str) -> None:
    notify(alice, kind, key="a")
    with translation.override(language):
        (message,) = describe(Notification.objects.shown_to(alice), alice)
    assert message.title
    assert message.text


def share(file: File, by: User, *, days: float, age: timedelta = timedelta(0)) -> ShareLink:
    """Return a link that was created `age` ago, and expires in `days`."""
    link, _token = create_link(ShareLink, created_by=by, name=file.name, file=file.permanent_id)
    now = timezone.now()
    ShareLink.objects.filter(pk=link.pk).update(created_at=now - age, expires_at=now + timedelta(days=days))
    return link


def test_share_link_that_expires_soon_notifies_its_creator_once(alice: User, bob: User, bucket: Bucket) -> None:
    share(factories.create_file(alice, name="report.pdf", bucket=bucket), alice, days=1.9, age=timedelta(days=5))
    for _ in range(2):
        sweep()
    assert (kinds_of(alice), kinds_of(bob)) == (["link_expiring"], [])
    assert text_of(alice).startswith("Your share link to “report.pdf” expires on ")


@pytest.mark.parametrize(
    ("days", "age"), [(2.1, timedelta(days=5)), (1.0, timedelta(hours=1)), (-0.1, timedelta(days=5))]
)
def test_other_share_links_notify_no_one(alice: User, days: float, age: timedelta) -> None:
    share(factories.create_file(alice), alice, days=days, age=age)
    assert notifications.warn_of_expiring_links() == 0


def test_revoked_share_link_notifies_no_one(alice: User) -> None:
    share(factories.create_file(alice), alice, days=1, age=timedelta(days=5))
    ShareLink.objects.all().revoke(by=alice)
    assert notifications.warn_of_expiring_links() == 0


def test_expiring_link_does_not_name_a_file_that_its_creator_no_longer_sees(alice: User, bob: User) -> None:
    file = factories.create_file(bob, name="secret.pdf")
    share(file, alice, days=1, age=timedelta(days=5))
    File.objects.update(visibility=Visibility.PRIVATE)
    notifications.warn_of_expiring_links()
    assert "secret" not in text_of(alice)


def test_guests_notify_the_creator_of_a_request_once_an_hour(alice: User, bob: User, bucket: Bucket) -> None:
    folder = Folder.objects.create(name="Inbox", created_by=alice)
    _request, token = create_request(folder, alice, title="Photos of the event")
    guest = GuestClient(token, name="Eve", address="eve@example.org")
    guest.send(b"one")
    guest.send(b"two")
    assert (kinds_of(alice), kinds_of(bob)) == (["file_request_used"], [])
    assert text_of(alice) == "Files were sent to “Photos of the event”."


def test_new_team_notifies_its_member(alice: User, admin_user: User) -> None:
    team = Group.objects.create(name="Design")
    set_teams(alice, [team], by=admin_user)
    assert text_of(alice) == "You were added to the team “Design”."


def test_folder_is_named_to_those_who_can_see_it(alice: User, charlie: User) -> None:
    folder = Folder.objects.create(name="Brand", created_by=alice)
    for user in (alice, charlie):
        notify(user, NotificationKind.LINK_EXPIRING, key="a", folder=folder.pk, expires_at=timezone.now().isoformat())
    assert "“Brand”" in text_of(alice)
    assert "Brand" not in text_of(charlie)


def test_old_notifications_are_deleted_by_the_sweep(alice: User, bucket: Bucket) -> None:
    for key in "ab":
        notify(alice, KIND, key=key)
    old = timezone.now() - notifications.RETENTION - timedelta(minutes=1)
    Notification.objects.filter(key="a").update(created_at=old)
    sweep()
    assert list(Notification.objects.values_list("key", flat=True)) == ["b"]


def test_language_is_remembered_at_sign_in_and_when_it_is_chosen(alice: User) -> None:
    client = signed_in(alice)
    assert Preference.objects.language_of(alice) == "en"
    client.post("/i18n/setlang/", {"language": "es"})
    assert Preference.objects.language_of(alice) == "es"
    client.post("/i18n/setlang/", {"language": "xx"})
    assert Preference.objects.language_of(alice) == "es"


def test_notifications_of_a_deleted_user_are_deleted(alice: User) -> None:
    notify(alice, KIND, key="a")
    NotificationPreference.objects.set(alice, {KIND: (True, False)})
    alice.delete()
    assert not Notification.objects.exists()
    assert Group.objects.exists()


def test_notification_with_an_invalid_file_id_names_no_file(alice: User) -> None:
    notify(alice, NotificationKind.FILE_CORRUPTED, key="a", file="")
    assert text_of(alice) == "A file that you can no longer see is corrupted."
