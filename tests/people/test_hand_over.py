"""Handing over the files of a deactivated account: all files, counters, events, and safe to repeat."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_tasks_db.models import DBTaskResult

from tests.support import factories
from tests.support.file_rows import stored_usage
from uploads.errors import OverQuota
from uploads.models import Action, Event, File, State, Usage, Visibility, apply_deltas
from uploads.services import hand_over
from uploads.services.recount import recount

pytestmark = pytest.mark.django_db


@pytest.fixture
def gone(bob: User) -> User:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    bob.is_active = False
    return bob


def post(client: Client, user: User, username: str) -> Any:
    return client.post(f"/people/{user.pk}/hand-over", {"username": username})


def run_tasks() -> None:
    """Run all queued tasks like the worker."""
    while waiting := list(DBTaskResult.objects.filter(status="READY", task_path__contains="hand_over")):
        for result in waiting:
            result.task.func(*result.args_kwargs["args"], **result.args_kwargs["kwargs"])
            DBTaskResult.objects.filter(pk=result.pk).update(status="SUCCESSFUL")


def test_all_files_get_the_new_owner(as_ada: Client, gone: User, alice: User) -> None:
    available = factories.create_file(gone, b"four", visibility=Visibility.PRIVATE)
    trashed = factories.create_file(gone, b"more!", state=State.TRASHED)
    unfinished = factories.create_file(gone, b"x", state=State.UPLOADING)
    mine = factories.create_file(alice, b"own")
    assert post(as_ada, gone, "alice").status_code == 302
    run_tasks()
    assert set(File.objects.filter(owner=alice)) == {available, trashed, mine}
    assert list(File.objects.filter(owner=gone)) == [unfinished]
    assert (stored_usage(gone), stored_usage(alice)) == ((1, 1), (3, 12))
    available.refresh_from_db()
    assert (available.uploaded_by, available.visibility) == (gone, Visibility.PRIVATE)


def test_counters_are_correct_after_the_handover(as_ada: Client, gone: User, alice: User) -> None:
    for number in range(5):
        factories.create_file(gone, b"x" * number)
    post(as_ada, gone, "alice")
    run_tasks()
    apply_deltas()
    assert recount(apply=False) == []


def test_handover_keeps_the_uploader(gone: User, alice: User, ada: User) -> None:
    by_alice = factories.create_file(gone, uploaded_by=alice)
    by_ada = factories.create_file(gone, uploaded_by=ada)
    hand_over.hand_over_batch(gone, alice, by=ada)
    assert dict(File.objects.values_list("pk", "uploaded_by")) == {by_alice.pk: None, by_ada.pk: ada.pk}


def test_handover_works_if_both_owners_have_the_same_upload_token(gone: User, alice: User, ada: User) -> None:
    token = uuid.uuid4()
    for user in (gone, alice):
        factories.create_file(user, token=token)
    assert hand_over.hand_over_batch(gone, alice, by=ada) == 1
    assert File.objects.filter(owner=alice).count() == 2


def test_handover_and_each_file_have_an_event(as_ada: Client, gone: User, alice: User) -> None:
    file = factories.create_file(gone)
    post(as_ada, gone, "alice")
    run_tasks()
    whole, event = Event.objects.filter(action=Action.HANDOVER).order_by("pk")
    assert (whole.actor, whole.name, whole.detail) == ("ada", "bob", {"to": "alice", "count": 1})
    assert (event.actor, event.file_id, event.detail) == ("ada", file.pk, {"before": "bob", "to": "alice"})


@pytest.mark.slow
def test_thousands_of_files_are_handed_over_in_batches(
    gone: User, alice: User, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    File.objects.bulk_create(_row(gone) for _ in range(2_300))
    Usage.objects.locked(gone.pk).change(files=2_300, bytes=2_300)
    monkeypatch.setattr(hand_over, "TASK_SECONDS", 0.0)  # one batch for each task
    hand_over.start(gone, alice, by=ada)
    assert hand_over.receiver_of(gone) == alice
    run_tasks()
    assert DBTaskResult.objects.count() == 6  # the last one finds no more files
    assert (stored_usage(gone), stored_usage(alice)) == ((0, 0), (2_300, 2_300))
    assert hand_over.receiver_of(gone) is None


def _row(owner: User) -> File:
    from django.db.models.functions import Now

    return File(
        owner=owner, name="a.txt", size=1, part_size=1, state=State.AVAILABLE, available_at=Now(), etag="x",
        checksum="x",
    )  # fmt: skip


def test_repeating_changes_nothing(as_ada: Client, gone: User, alice: User) -> None:
    factories.create_file(gone, b"four")
    for _ in range(2):
        post(as_ada, gone, "alice")
        run_tasks()
    assert (stored_usage(gone), stored_usage(alice)) == ((0, 0), (1, 4))


def test_receiver_without_enough_quota_gets_no_files(as_ada: Client, gone: User, alice: User) -> None:
    factories.create_file(gone, b"four")
    Usage.objects.update_or_create(owner=alice, defaults={"quota_bytes": 3})
    response = post(as_ada, gone, "alice")
    assert "no room" in str(response.context["form"].errors)
    with pytest.raises(OverQuota):
        hand_over.hand_over_batch(gone, alice, by=None)
    assert File.objects.get().owner == gone


def test_deactivated_receiver_gets_no_files(gone: User, alice: User, ada: User) -> None:
    factories.create_file(gone)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert hand_over.hand_over_files.func(gone.pk, alice.pk, ada.pk) == 0
    assert File.objects.get().owner == gone


@pytest.mark.parametrize("name", ["", "nobody", "bob", "<b>", "x" * 1000])
def test_unknown_receiver_is_an_error_below_the_field(name: str, as_ada: Client, gone: User) -> None:
    response = post(as_ada, gone, name)
    assert response.status_code == 200
    assert response.context["form"].errors["username"]


def test_active_account_cannot_be_handed_over(as_ada: Client, bob: User, alice: User) -> None:
    assert post(as_ada, bob, "alice").status_code == 409
    assert as_ada.get(f"/people/{bob.pk}/hand-over").status_code == 409


def test_page_says_how_many_files_are_left(as_ada: Client, gone: User, alice: User) -> None:
    factories.create_file(gone)
    assert "owns 1 file" in as_ada.get(f"/people/{gone.pk}/").text
    post(as_ada, gone, "alice")
    assert "Handing over to alice: 1 file left." in as_ada.get(f"/people/{gone.pk}/").text
    run_tasks()
    assert "owns no files" in as_ada.get(f"/people/{gone.pk}/").text
