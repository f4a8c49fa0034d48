"""Moving over a network that breaks, loses answers and flips bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django import Settings

from tests.support import fronts, shelf
from tests.support.fronts import Answer, Front, Request
from tests.support.senders import Sender
from tests.support.stores import Bucket
from tests.support.two_stores import TwoStores, run, second_bucket, two_stores
from uploads.models import File
from uploads.services.move_store import copy

BODY = shelf.some_bytes(3 * 1024**2)
PART = 1024**2

Far = tuple[TwoStores, Front, Front]  # with a front before each


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before trying again."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)
    monkeypatch.setattr(copy, "PAUSE_SECONDS", 0)


@pytest.fixture
def far(bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[Far]:
    """Both stores lie behind a front of their own."""
    settings.UPLOAD_PART_BYTES = PART
    second = second_bucket(bucket.address)
    with fronts.in_front_of(bucket.address.endpoint) as old, fronts.in_front_of(bucket.address.endpoint) as new:
        first = Bucket(dataclasses.replace(bucket.address, endpoint=old.url))
        second = Bucket(dataclasses.replace(second.address, endpoint=new.url))
        old.rules["head"] = new.rules["head"] = whole_length
        with two_stores(first, second, settings, monkeypatch) as stores:
            yield stores, old, new


def whole_length(request: Request) -> Answer:
    """A front tells no length where there is no body."""
    told = request.forward()
    return dataclasses.replace(told, announced=int(told.headers.get("Content-Length") or 0) or None)


@pytest.fixture
def file(as_alice: Client, far: Far) -> File:
    file = Sender(as_alice).send(BODY)
    far[0].swap()
    return file


def moved(file: File, two: TwoStores) -> bool:
    file.refresh_from_db()
    whole = file.store == "new" and two.second.read(file.key) == BODY
    assert whole or (file.store == "" and file.lease_until is None)
    assert two.second.multipart_uploads() == []
    return whole


def test_reading_goes_on_where_the_connection_broke(file: File, far: Far) -> None:
    two, old, _new = far
    breaks = iter([True, True])
    old.rules["get"] = lambda request: (
        fronts.midway(request) if file.key in request.url and next(breaks, False) else request.forward()
    )
    assert run("--apply")[0] == 0
    assert moved(file, two)
    assert not next(breaks, False)


@pytest.mark.parametrize("fault", ["503", "broken"])
def test_a_part_that_fails_once_is_sent_again(file: File, far: Far, fault: str) -> None:
    two, _old, new = far
    calls = iter(range(100))
    rule = fronts.FAULTS[fault]
    new.rules["part"] = lambda request: rule(request) if next(calls) == 1 else request.forward()
    assert run("--apply")[0] == 0
    assert moved(file, two)


def test_a_bit_that_flips_on_the_way_is_refused_by_the_store_and_nothing_switched(file: File, far: Far) -> None:
    two, _old, new = far

    def flip(request: Request) -> Answer:
        return dataclasses.replace(request, body=bytes([request.body[0] ^ 1]) + request.body[1:]).forward()

    new.rules["part"] = flip
    assert run("--apply")[0] == 1
    assert not moved(file, two)
    del new.rules["part"]
    assert run("--apply")[0] == 0
    assert moved(file, two)


def test_an_answer_that_is_lost_after_the_copy_was_made_loses_nothing(file: File, far: Far) -> None:
    two, _old, new = far
    new.rules["complete"] = fronts.lost
    assert run("--apply")[0] in {0, 1}
    moved(file, two)
    del new.rules["complete"]
    assert run("--apply")[0] == 0
    assert moved(file, two)


def test_a_copy_that_is_not_as_it_was_sent_is_not_switched_to(file: File, far: Far) -> None:
    two, _old, new = far

    def short(request: Request) -> Answer:
        return dataclasses.replace(request.forward(), announced=7)

    new.rules["head"] = short
    assert run("--apply")[0] == 1
    assert not moved(file, two)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("InvalidObjectState", "archived"), ("KMS.DisabledException", "encrypted"), ("AccessDenied", "denied")],
)  # fmt: skip
def test_object_that_its_store_refuses_stays_and_the_others_move(
    as_alice: Client, far: Far, code: str, outcome: str
) -> None:
    two, old, _new = far
    refused, other = Sender(as_alice).send(BODY), Sender(as_alice).send(BODY)
    two.swap()
    said = fronts.status(403, code)
    old.rules["get"] = lambda request: said(request) if refused.key in request.url else request.forward()
    status, told = run("--apply")
    assert status == 1
    assert (told[outcome], told["moved"], told.get("failed", 0)) == (1, 1, 0)
    assert moved(other, two)
    refused.refresh_from_db()
    assert (refused.store, refused.refusal) == ("", outcome)
