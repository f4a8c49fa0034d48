"""Concurrency: fifty completions of one upload, one file in two tabs, and sweeps during uploads."""

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
from tests.faults.actions import CommandAction
from tests.faults.clients import SlowClient
from tests.faults.harness import settle
from tests.faults.processes import ForkedRunner, ForkServer
from tests.support.stores import Bucket
from tests.support.upload_client import cut, sha256
from tests.support.waiting import wait_until
from uploads.models import Action, Event, File, State

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

PART = 5 * 1024**2
FINISHERS = 50
SENDERS = 8


@pytest.fixture(scope="module")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("crowds"), {"UPLOAD_PART_BYTES": str(PART)}) as url:
        yield url


def announced(person: SlowClient, body: bytes, token: uuid.UUID) -> str:
    item = {"token": str(token), "name": "one.bin", "size": len(body)}
    return str(person.call("POST", "/uploads/", {"files": [item]})["files"][0]["id"])


@pytest.mark.parametrize("body", [b"small", b"x" * (PART + 1)], ids=["one part", "parts"])
def test_concurrent_completions_create_one_file_and_one_event(
    site: str, alice: User, bucket: Bucket, neighbour: None, body: bytes
) -> None:
    person = SlowClient(site, alice)
    pk = announced(person, body, uuid.uuid4())
    pieces = cut(body, PART)
    for number, piece in enumerate(pieces, start=1):
        person.put(pk, number, piece)
    claim = {"files": [{"id": pk, "sha256": [sha256(piece) for piece in pieces]}]}

    def finish(_number: int) -> tuple[int, bytes]:
        headers = {"X-CSRFToken": person.visitor.token, "Content-Type": "application/json"}
        response, text = person.visitor.request("POST", "/uploads/finish/", json.dumps(claim).encode(), headers=headers)
        return response.status, text

    with ThreadPoolExecutor(FINISHERS) as executor:
        responses = list(executor.map(finish, range(FINISHERS)))
        again = list(executor.map(finish, range(FINISHERS)))
    assert {status for status, _text in responses} <= {200, 202}
    assert {status for status, _text in again} == {200}
    assert len({text for status, text in responses + again if status == 200}) == 1
    assert Event.objects.filter(action=Action.UPLOAD, file_id=pk).count() == 1
    settle(bucket, acknowledged={uuid.UUID(pk): body})


def test_two_tabs_with_one_token_create_one_file(site: str, alice: User, bucket: Bucket, neighbour: None) -> None:
    """Both tabs resume the upload, send all parts and complete it."""
    body, token = b"a" * PART + b"b" * PART + b"the end", uuid.uuid4()
    tabs = [SlowClient(site, alice), SlowClient(site, alice)]

    def send(tab: SlowClient) -> uuid.UUID:
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
    settle(bucket, acknowledged={ids.pop(): body})


def test_two_tabs_with_different_tokens_create_two_files(
    site: str, alice: User, bucket: Bucket, neighbour: None
) -> None:
    bodies = [b"a" * (PART + 1), b"b" * (PART + 1)]
    with ThreadPoolExecutor(2) as both:
        ids = list(both.map(lambda body: SlowClient(site, alice).send("same.bin", body), bodies))
    settle(bucket, acknowledged=dict(zip(ids, bodies, strict=True)))
    assert File.objects.filter(name="same.bin").count() == 2


@contextmanager
def sweeping(fork_server: ForkServer, user: User) -> Iterator[Counter[int]]:
    """Sweep repeatedly in separate processes; yield a counter of their exit statuses."""
    ended: Counter[int] = Counter()
    stop = threading.Event()

    def sweep() -> None:
        runner = ForkedRunner(fork_server, user)
        while not stop.is_set():
            result = runner.do(CommandAction(("sweep",)))
            ended[result.status_code if result else -1] += 1

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
def test_sweeps_during_uploads_delete_no_live_files(
    count: int, site: str, alice: User, bob: User, bucket: Bucket, fork_server: ForkServer, neighbour: None
) -> None:
    people = [SlowClient(site, (alice, bob)[number % 2]) for number in range(SENDERS)]
    bodies = [b"%d " % number * (1 if number % 50 else PART // 2) for number in range(count)]

    with sweeping(fork_server, alice) as ended, ThreadPoolExecutor(SENDERS) as executor:

        def send(number: int) -> uuid.UUID:
            wait_until(lambda: ended.total() >= (number + 1) // 40)  # so that sweeps run all the time
            return people[number % SENDERS].send(f"{number}.bin", bodies[number])

        ids = list(executor.map(send, range(count)))
    assert set(ended) == {0}
    assert File.objects.filter(pk__in=ids, state=State.AVAILABLE).count() == count
    settle(bucket, acknowledged=dict(zip(ids, bodies, strict=True)))
