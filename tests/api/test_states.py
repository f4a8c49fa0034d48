"""Transitions between states, and the rows that the database refuses."""

from __future__ import annotations

import re
import threading
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, transaction

from tests.support.file_rows import create_row, required_fields, stored_usage, usage_by_rows
from uploads.models import ALLOWED_TRANSITIONS, ChecksumStatus, File, State
from uploads.models.file import new_key

# Sets the fields that any state needs, so that only the transition can be rejected.
MOVE = """
    UPDATE uploads_file SET state = %s, expires_at = now(), lease_until = now(), purge_after = now(),
    available_at = now(), etag = 'e', checksum = 'c' WHERE id = %s
"""


def sql(statement: str, *values: UUID | str) -> int:
    """Run raw SQL, as in a database shell. Return the number of changed rows."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


# --- transitions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", State)
def test_trigger_refuses_other_transitions_in_raw_sql(alice: User, source: State) -> None:
    for target in State:
        file = create_row(alice, source)
        if source == target or source in ALLOWED_TRANSITIONS[target]:
            assert sql(MOVE, target, file.pk) == 1
            continue
        with pytest.raises(IntegrityError, match=f"does not go from {source} to {target}"):
            sql(MOVE, target, file.pk)
        file.refresh_from_db()
        assert file.state == source


@pytest.mark.django_db
def test_transitions_of_the_trigger_are_the_allowed_transitions() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef('uploads_file_guard'::regproc)")
        (text,) = cursor.fetchone()
    in_sql = set(re.findall(r"\('(\w+)', '(\w+)'\)", text))
    assert in_sql == {
        (source.value, target.value) for target, sources in ALLOWED_TRANSITIONS.items() for source in sources
    }


@pytest.mark.parametrize("source", State)
def test_move_to_follows_the_allowed_transitions(alice: User, source: State) -> None:
    for target in State:
        file = create_row(alice, source)
        moved = File.objects.filter(pk=file.pk).move_to(target, **required_fields(target))
        file.refresh_from_db()
        assert (moved, file.state) == ((1, target) if source in ALLOWED_TRANSITIONS[target] else (0, source))


@pytest.mark.django_db(transaction=True)
def test_exactly_one_of_many_concurrent_moves_succeeds(alice: User) -> None:
    file = create_row(alice, State.TRASHED)
    start = threading.Barrier(8)
    results: list[int] = []

    def race() -> None:
        start.wait(10)
        try:
            results.append(File.objects.filter(pk=file.pk).move_to(State.DELETING))
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0] * 7 + [1]


def test_discarding_a_row_twice_frees_its_space_once(alice: User) -> None:
    file, _other = create_row(alice, size=5), create_row(alice, size=7)
    row = File.objects.filter(pk=file.pk)
    assert row.discard(owner_id=alice.pk) == 1
    assert row.discard(owner_id=alice.pk) == 0
    assert stored_usage(alice) == usage_by_rows(alice) == (1, 7)


@pytest.mark.parametrize("state", [State.AVAILABLE, State.DELETING])
def test_available_or_deleting_row_cannot_be_discarded(alice: User, state: State) -> None:
    file = create_row(alice, state)
    before = stored_usage(alice)
    assert not File.objects.filter(pk=file.pk).discard(owner_id=alice.pk)
    assert stored_usage(alice) == before


# --- invalid rows ----------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.AVAILABLE, State.TRASHED])
@pytest.mark.parametrize(
    "without",
    ["etag = ''", "checksum = ''", "checksum_algorithm = ''", "checksum_status = ''", "checksum_status = 'hope'",
     "available_at = NULL"],
)  # fmt: skip
def test_stored_row_cannot_lose_its_metadata(alice: User, state: State, without: str) -> None:
    create_row(alice, state)
    with pytest.raises(IntegrityError, match="file_stored_has_metadata"):
        sql(f"UPDATE uploads_file SET {without}")


@pytest.mark.parametrize("missing", ["checksum", "etag", "available_at"])
def test_upload_cannot_become_available_without_its_metadata(alice: User, missing: str) -> None:
    row = File.objects.filter(pk=create_row(alice, State.COMPLETING).pk)
    facts = {**required_fields(State.AVAILABLE), missing: None if missing == "available_at" else ""}
    with pytest.raises(IntegrityError, match="file_stored_has_metadata"), transaction.atomic():
        row.update(state=State.AVAILABLE, **facts)
    assert row.get().state == State.COMPLETING


@pytest.mark.parametrize(
    ("constraint", "state", "change"),
    [
        ("file_state_valid", None, {"state": "lost"}),
        ("file_state_valid", None, {"state": ""}),
        ("file_visibility_valid", State.AVAILABLE, {"visibility": "world"}),
        ("file_size_not_negative", State.AVAILABLE, {"size": -1}),
        ("file_part_size_positive", State.AVAILABLE, {"part_size": 0}),
        ("file_name_not_empty", State.AVAILABLE, {"name": ""}),
        ("file_uploading_has_expiry", State.UPLOADING, {"expires_at": None}),
        ("file_completing_has_lease", State.COMPLETING, {"lease_until": None}),
        ("file_completing_has_lease", State.COMPLETING, {"checksum": ""}),
        ("file_trashed_has_purge_time", State.TRASHED, {"purge_after": None}),
    ],
)
def test_invalid_row_is_rejected_by_a_constraint(
    alice: User, constraint: str, state: State | None, change: dict[str, Any]
) -> None:
    plain = {"owner": alice, "name": "x", "size": 1, "part_size": 1, "state": state}
    facts = {**plain, **(required_fields(state) if state else {}), **change}
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        File.objects.create(**facts)


@pytest.mark.parametrize("state", ["lost", "AVAILABLE", "", "available "])
def test_an_unknown_state_is_refused_on_a_row_that_exists(alice: User, state: str) -> None:
    file = create_row(alice)
    with pytest.raises(IntegrityError):
        sql("UPDATE uploads_file SET state = %s WHERE id = %s", state, file.pk)


@pytest.mark.parametrize("key", ["f/" + "0" * 31, "f/" + "G" * 32, "g/" + "0" * 32, "0" * 34, "../" + "0" * 31, ""])
def test_invalid_key_is_rejected(alice: User, key: str) -> None:
    with pytest.raises(IntegrityError, match="file_key_valid"), transaction.atomic():
        create_row(alice, key=key)


def test_key_with_a_line_break_is_rejected(alice: User) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        create_row(alice, key=new_key()[:-1] + "\n")


def test_key_is_unique(alice: User, bob: User) -> None:
    file = create_row(alice)
    with pytest.raises(IntegrityError, match="key"), transaction.atomic():
        create_row(bob, key=file.key)


def test_token_is_unique_per_owner(alice: User, bob: User) -> None:
    file = create_row(alice)
    create_row(bob, token=file.token)
    with pytest.raises(IntegrityError, match="file_token_unique"), transaction.atomic():
        create_row(alice, token=file.token)


@pytest.mark.parametrize("state", list(State))
def test_key_cannot_be_changed(alice: User, state: State) -> None:
    file = create_row(alice, state)
    with pytest.raises(IntegrityError, match="keeps its key"):
        sql("UPDATE uploads_file SET key = %s WHERE id = %s", new_key(), file.pk)


@pytest.mark.parametrize("state", [state for state in State if state != State.DELETING])
def test_row_with_existing_object_cannot_be_deleted(alice: User, state: State) -> None:
    file = create_row(alice, state)
    with pytest.raises(IntegrityError, match="only after its object"):
        sql("DELETE FROM uploads_file WHERE id = %s", file.pk)
    with pytest.raises(IntegrityError), transaction.atomic():
        File.objects.filter(pk=file.pk).delete()
    assert File.objects.filter(pk=file.pk).exists()


def test_deleting_row_can_be_deleted(alice: User) -> None:
    file = create_row(alice, State.DELETING)
    assert sql("DELETE FROM uploads_file WHERE id = %s", file.pk) == 1


def test_an_owner_of_files_cannot_be_deleted(alice: User) -> None:
    create_row(alice, State.AVAILABLE)
    with pytest.raises(IntegrityError), transaction.atomic():
        alice.delete()


def test_usage_is_never_negative(alice: User) -> None:
    create_row(alice)
    with pytest.raises(IntegrityError, match="usage_not_negative"):
        sql("UPDATE uploads_usage SET bytes = -1")


def test_transition_table_covers_every_state() -> None:
    assert set(ALLOWED_TRANSITIONS) == set(State)
    assert set().union(*ALLOWED_TRANSITIONS.values()) == set(State) - {State.DELETING}
    assert ChecksumStatus.UNVERIFIED in ChecksumStatus
