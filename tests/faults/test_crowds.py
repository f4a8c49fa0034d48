"""Many at once: one upload finished by fifty, one file in two tabs, and a sweep that never rests beside uploads."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User

from tests.conftest import serving
from tests.faults.acts import Command
from tests.faults.mortals import Child, Player
from tests.faults.people import Person
from tests.faults.stage import settle
from tests.support.senders import cut, sha256
from tests.support.stores import Bucket
from tests.support.waiting import wait_until
from uploads.models import Action, Event, File, State

pytestmark = pytest.mark.django_db(transaction=True)

PART = 5 * 1024**2
FINISHERS = 50
SENDERS = 8


@pytest.fixture(scope="module")
def place(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("crowds"), {"UPLOAD_PART_BYTES": str(PART)}) as url:
        yield url


def announced(person: Person, body: bytes, token: uuid.UUID) -> str:
    item = {"token": str(token), "name": "one.bin", "size": len(body)}
    return str(person.call("POST", "/uploads/", {"files": [item]})["files"][0]["id"])


@pytest.mark.parametrize("body", [b"small", b"x" * (PART + 1)], ids=["one part", "parts"])
def test_fifty_finishes_of_one_upload_are_one_file_and_one_event(
    place: str, alice: User, bucket: Bucket, neighbour: None, body: bytes
) -> None:
    person = Person(place, alice)
    pk = announced(person, body, uuid.uuid4())
    pieces = cut(body, PART)
    for number, piece in enumerate(pieces, start=1):
        person.put(pk, number, piece)
    claim = {"files": [{"id": pk, "sha256": [sha256(piece) for piece in pieces]}]}

    def finish(_number: int) -> tuple[int, bytes]:
        headers = {"X-CSRFToken": person.visitor.token, "Content-Type": "application/json"}
        answer, text = person.visitor.ask("POST", "/uploads/finish/", json.dumps(claim).encode(), headers=headers)
        return answer.status, text

    with ThreadPoolExecutor(FINISHERS) as crowd:
        answers = list(crowd.map(finish, range(FINISHERS)))
        again = list(crowd.map(finish, range(FINISHERS)))
    assert {status for status, _text in answers} <= {200, 202}
    assert {status for status, _text in again} == {200}
    assert len({text for status, text in answers + again if status == 200}) == 1
    assert Event.objects.filter(action=Action.UPLOAD, file_id=pk).count() == 1
    settle(bucket, kept={uuid.UUID(pk): body})


def test_two_tabs_that_know_each_others_upload_send_one_file(
    place: str, alice: User, bucket: Bucket, neighbour: None
) -> None:
    """Both go on with what was begun, send every part, and finish."""
    body, token = b"a" * PART + b"b" * PART + b"the end", uuid.uuid4()
    tabs = [Person(place, alice), Person(place, alice)]

    def send(tab: Person) -> uuid.UUID:
        pk = announced(tab, body, token)
        if tab.call("GET", f"/uploads/{pk}/")["state"] == State.UPLOADING:
            for number, piece in enumerate(cut(body, PART), start=1):
                try:
                    tab.put(pk, number, piece)
                except AssertionError:
                    break  # the other one has finished
        return tab.finish(pk, [sha256(piece) for piece in cut(body, PART)])

    with ThreadPoolExecutor(2) as both:
        ids = set(both.map(send, tabs))
    assert len(ids) == 1
    settle(bucket, kept={ids.pop(): body})


def test_two_tabs_that_know_nothing_of_each_other_send_two(
    place: str, alice: User, bucket: Bucket, neighbour: None
) -> None:
    bodies = [b"a" * (PART + 1), b"b" * (PART + 1)]
    with ThreadPoolExecutor(2) as both:
        ids = list(both.map(lambda body: Person(place, alice).send("same.bin", body), bodies))
    settle(bucket, kept=dict(zip(ids, bodies, strict=True)))
    assert File.objects.filter(name="same.bin").count() == 2


@contextmanager
def sweeping(player: Player, user: User) -> Iterator[Counter[int]]:
    """Sweeps in processes of their own, one after the other: how they ended."""
    ended: Counter[int] = Counter()
    stop = threading.Event()

    def sweep() -> None:
        door = Child(player, user)
        while not stop.is_set():
            told = door.do(Command(("sweep",)))
            ended[told.status_code if told else -1] += 1

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "count", [200, pytest.param(1000, marks=[pytest.mark.faults, pytest.mark.timeout(600)])]
)  # fmt: skip
def test_a_sweep_beside_uploads_touches_nothing_that_lives(
    count: int, place: str, alice: User, bob: User, bucket: Bucket, player: Player, neighbour: None
) -> None:
    people = [Person(place, (alice, bob)[number % 2]) for number in range(SENDERS)]
    bodies = [b"%d " % number * (1 if number % 50 else PART // 2) for number in range(count)]

    with sweeping(player, alice) as ended, ThreadPoolExecutor(SENDERS) as crowd:

        def send(number: int) -> uuid.UUID:
            wait_until(lambda: ended.total() >= (number + 1) // 40)  # so that sweeps run all the time
            return people[number % SENDERS].send(f"{number}.bin", bodies[number])

        ids = list(crowd.map(send, range(count)))
    assert set(ended) == {0}
    assert File.objects.filter(pk__in=ids, state=State.AVAILABLE).count() == count
    settle(bucket, kept=dict(zip(ids, bodies, strict=True)))
