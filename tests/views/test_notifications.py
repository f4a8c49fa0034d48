"""The page of notifications, the bell, and the settings."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from tests.support import factories
from tests.support.smtp_server import SmtpServer
from tests.support.stores import Bucket
from uploads.models import Notification, NotificationKind, NotificationPreference, Visibility
from uploads.services.notifications import notify
from uploads.views.notifications import PAGE_SIZE

pytestmark = pytest.mark.django_db

KIND = NotificationKind.QUOTA_LOW


def notify_often(user: User, count: int) -> None:
    rows = [Notification(user=user, kind=KIND, key=str(number)) for number in range(count)]
    Notification.objects.bulk_create(rows)


def test_the_list_shows_the_users_own_notifications(alice: User, bob: User, as_alice: Client) -> None:
    notify(alice, KIND, key="a", percent=93)
    notify(bob, KIND, key="a", percent=97)
    page = as_alice.get("/notifications/").text
    assert "You have used 93 % of your storage" in page
    assert "97 %" not in page


def test_empty_list_shows_a_message(as_alice: Client) -> None:
    assert "No notifications" in as_alice.get("/notifications/").text


def test_a_file_is_named_and_linked_only_while_it_can_be_seen(alice: User, bob: User, as_alice: Client) -> None:
    file = factories.create_file(bob, name="plan.pdf", visibility=Visibility.TEAM)
    notify(alice, NotificationKind.FILE_CORRUPTED, key="a", file=str(file.permanent_id))
    assert "plan.pdf" in as_alice.get("/notifications/").text
    file.visibility = Visibility.PRIVATE
    file.save(update_fields=["visibility"])
    page = as_alice.get("/notifications/").text
    assert "plan.pdf" not in page
    assert str(file.permanent_id) not in page


def test_a_name_with_markup_is_escaped(alice: User, as_alice: Client) -> None:
    notify(alice, NotificationKind.FILE_REQUEST_USED, key="a", title="<script>alert(1)</script>")
    assert "<script>alert" not in as_alice.get("/notifications/").text


def test_notifications_are_paginated(alice: User, as_alice: Client) -> None:
    notify_often(alice, PAGE_SIZE + 3)
    first = as_alice.get("/notifications/")
    assert len(first.context["notifications"]) == PAGE_SIZE
    second = as_alice.get(first.context["next_url"])
    assert [message.notification.key for message in second.context["notifications"]] == ["2", "1", "0"]
    assert second.context["next_url"] is None


@pytest.mark.parametrize("before", ["x", "-1", "9" * 30, "9" * 18, "0", ""])
def test_invalid_cursor_is_ignored(alice: User, as_alice: Client, before: str) -> None:
    assert as_alice.get("/notifications/", {"before": before}).status_code == 200


def test_query_count_does_not_grow_with_the_list(
    alice: User, as_alice: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        file = factories.create_file(alice)
        notify(alice, NotificationKind.FILE_CORRUPTED, key=str(number), file=str(file.permanent_id))
    as_alice.get("/notifications/")
    # session, user with permissions, notifications, files, counts of the navigation
    with django_assert_num_queries(5):
        as_alice.get("/notifications/")


def test_notification_can_be_marked_as_read(alice: User, as_alice: Client) -> None:
    notify(alice, KIND, key="a")
    row = Notification.objects.get()
    response = as_alice.post(reverse("read_notification", args=[row.pk]))
    assert response["Location"] == "/notifications/"
    row.refresh_from_db()
    assert row.read_at is not None


def test_opening_marks_as_read_and_redirects_to_the_file(alice: User, as_alice: Client) -> None:
    file = factories.create_file(alice)
    notify(alice, NotificationKind.FILE_CORRUPTED, key="a", file=str(file.permanent_id))
    row = Notification.objects.get()
    response = as_alice.post(reverse("read_notification", args=[row.pk]), {"open": "1"})
    assert response["Location"] == f"/files/{file.permanent_id}/"
    assert Notification.objects.shown_to(alice).unseen().count() == 0


def test_notification_of_another_user_is_not_found(alice: User, as_bob: Client) -> None:
    notify(alice, KIND, key="a")
    assert as_bob.post(reverse("read_notification", args=[Notification.objects.get().pk])).status_code == 404
    assert as_bob.post(reverse("read_notification", args=[2**70])).status_code == 404
    assert Notification.objects.shown_to(alice).unseen().count() == 1


def test_marking_all_as_read_excludes_newer_notifications(alice: User, bob: User, as_alice: Client) -> None:
    notify(alice, KIND, key="a")
    notify(bob, KIND, key="a")
    last = as_alice.get("/notifications/").context["notifications"][0].notification.pk
    notify(alice, KIND, key="b")
    as_alice.post("/notifications/read", {"last": str(last)})
    assert list(Notification.objects.shown_to(alice).unseen().values_list("key", flat=True)) == ["b"]
    assert Notification.objects.shown_to(bob).unseen().count() == 1


# --- the bell -------------------------------------------------------------------------------------


def test_bell_counts_unseen_notifications(alice: User, as_alice: Client) -> None:
    assert "Notifications: " not in as_alice.get("/").text
    notify_often(alice, 3)
    assert "Notifications: 3 unread" in as_alice.get("/").text
    Notification.objects.shown_to(alice).mark_read()
    assert "Notifications: " not in as_alice.get("/").text


def test_the_bell_does_not_count_beyond_99(alice: User, as_alice: Client) -> None:
    notify_often(alice, 120)
    assert "99+" in as_alice.get("/").text


def test_a_download_does_not_count_notifications(
    alice: User, as_alice: Client, bucket: Bucket, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    file = factories.create_file(alice, bucket=bucket)
    url = reverse("download", args=[file.permanent_id])
    as_alice.get(url)
    with django_assert_num_queries(4) as queries:
        as_alice.get(url)
    assert not [query for query in queries if "notification" in query["sql"]]


# --- settings -------------------------------------------------------------------------------------


def test_each_kind_can_be_turned_off(alice: User, as_alice: Client, mail_server: SmtpServer) -> None:
    User.objects.filter(pk=alice.pk).update(email="alice@example.com")
    response = as_alice.post("/notifications/settings/", {"in_app-quota_low": "on", "mail-invited": "on"})
    assert response["Location"] == "/notifications/settings/"
    saved = {row.kind: (row.in_app, row.mail) for row in NotificationPreference.objects.filter(user=alice)}
    assert (saved["quota_low"], saved["invited"]) == ((True, False), (False, True))
    assert saved["file_corrupted"] == (False, False)
    page = as_alice.get("/notifications/settings/").text
    assert '<input type="checkbox" name="in_app-quota_low" checked>' in page
    assert '<input type="checkbox" name="mail-quota_low">' in page


def test_operator_notification_settings_are_for_operators_only(as_alice: Client, as_admin: Client) -> None:
    assert "drift" not in as_alice.get("/notifications/settings/").text
    as_alice.post("/notifications/settings/", {"in_app-drift": "on", "in_app-nonsense": "on"})
    assert not NotificationPreference.objects.filter(kind__in=("drift", "nonsense")).exists()
    assert "drift" in as_admin.get("/notifications/settings/").text


def test_settings_explain_why_mail_is_unavailable_and_disable_it(
    alice: User, as_alice: Client, mail_server: SmtpServer, settings: Settings
) -> None:
    disabled = '<input type="checkbox" name="mail-quota_low" checked disabled aria-describedby="no-mail">'
    page = as_alice.get("/notifications/settings/").text
    assert "Your account has no email address." in page
    assert disabled in page
    settings.EMAIL_IS_CONFIGURED = False
    page = as_alice.get("/notifications/settings/").text
    assert "Mail is not set up on this site." in page
    assert disabled in page


def test_choices_for_mail_are_kept_while_it_is_unavailable(alice: User, as_alice: Client) -> None:
    NotificationPreference.objects.create(user=alice, kind="invited", in_app=True, mail=False)
    as_alice.post("/notifications/settings/", {"in_app-quota_low": "on", "mail-invited": "on"})
    saved = {row.kind: (row.in_app, row.mail) for row in NotificationPreference.objects.filter(user=alice)}
    assert (saved["quota_low"], saved["invited"]) == ((True, True), (False, False))
