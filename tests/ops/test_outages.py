"""Outages of database and storage: connections are refused, reset or hang. Requests get a 503 in time, and
everything works again afterwards."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from tests.conftest import serving
from tests.support import factories, form_client
from tests.support.form_client import Chosen, Form, Visitor
from tests.support.stores import Address, Bucket
from tests.support.tcp_proxy import Mode, Proxy
from tests.support.upload_client import put_bytes, sha256
from tests.support.waiting import wait_until
from uploads.models import File, State

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

OUTAGES = pytest.mark.parametrize("mode", ["refuse", "reset", "hang"])
MAX_RESPONSE_SECONDS = 10  # until a request gets its response
RECOVERY_SECONDS = 5  # until requests succeed again
PART = 5 * 1024**2
BODY = b"hello"
PASSWORD = "a long word of its own"


@dataclass
class Site:
    url: str
    database: Proxy
    store: Proxy


@pytest.fixture(scope="module")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A real server that reaches database and storage only through proxies."""
    store_address = urlsplit(Address.of_this_run().endpoint)
    behind = connection.settings_dict
    database = Proxy(behind["HOST"], int(behind["PORT"]))
    store = Proxy(str(store_address.hostname), int(store_address.port or 80))
    variables = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{store.port}", "UPLOAD_PART_BYTES": str(PART)}
    with serving(tmp_path_factory.mktemp("away"), variables, database_port=database.port) as url:
        yield Site(url, database, store)
    database.close()
    store.close()


@dataclass
class TimedResponse:
    """The response to one request, and its duration in seconds."""

    status: int
    headers: HTTPMessage
    body: bytes
    seconds: float

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


@dataclass
class Call:
    method: str
    path: str
    data: object = None

    def by(self, visitor: Visitor) -> TimedResponse:
        headers = {"X-CSRFToken": visitor.token}
        body = b""
        if isinstance(self.data, Form):
            body = Form(self.data.files, token=visitor.token).body()
            headers["Content-Type"] = form_client.MULTIPART
        elif self.data is not None:
            body = json.dumps(self.data).encode()
            headers["Content-Type"] = "application/json"
        start = time.monotonic()
        response, page = visitor.request(self.method, self.path, body or None, headers=headers, seconds=120)
        return TimedResponse(response.status, response.headers, page, time.monotonic() - start)


class Desk:
    """Alice signed in, with a file, a small and a multipart upload, and all requests that she can send."""

    def __init__(self, site: Site, alice: User, bucket: Bucket) -> None:
        self.alice = Visitor(site.url, alice).open_form()
        self.file = factories.create_file(alice, BODY, bucket=bucket)
        self.small = factories.create_file(alice, BODY, state=State.UPLOADING, bucket=bucket)
        self.large = factories.create_file(alice, b"x" * (PART + 1), state=State.UPLOADING, part_size=PART)
        item = {"token": str(uuid.uuid4()), "name": "new.txt", "size": len(BODY), "sha256": sha256(BODY)}
        self.pages = {
            "library": Call("GET", "/"),
            "file": Call("GET", f"/files/{self.file.pk}/"),
            "trash": Call("GET", "/trash/"),
            "unfinished": Call("GET", "/unfinished/"),
            "form": Call("GET", "/upload/"),
            "download": Call("GET", f"/files/{self.file.pk}/download"),
            "admin": Call("GET", "/admin/"),
            "login": Call("GET", "/accounts/login/"),
        }
        self.moves = {
            "to the trash": Call("POST", f"/files/{self.file.pk}/trash"),
            "cancel": Call("POST", f"/unfinished/{self.large.pk}/cancel"),
        }
        self.send = Call("POST", "/upload/", Form([Chosen("plain.txt", BODY)]))
        self.start = Call("POST", "/uploads/", {"files": [item]})
        self.list = Call("GET", "/uploads/")
        waiting = factories.create_file(alice, BODY, state=State.UPLOADING)
        self.look = Call("GET", f"/uploads/{waiting.pk}/")
        self.sign_small = Call("POST", f"/uploads/{self.small.pk}/parts/", {"parts": [{"number": 1}]})
        self.sign_large = Call("POST", f"/uploads/{self.large.pk}/parts/", {"parts": [{"number": 1}]})
        claim = {"id": str(self.small.pk), "sha256": [sha256(BODY)]}
        self.finish = Call("POST", "/uploads/finish/", {"files": [claim]})

    @property
    def protocol(self) -> dict[str, Call]:
        return {
            "start": self.start, "list": self.list, "look": self.look, "sign": self.sign_small,
            "sign parts": self.sign_large, "finish": self.finish,
            "cancel by DELETE": Call("DELETE", f"/uploads/{self.large.pk}/"),
        }  # fmt: skip

    def call_all(self, calls: Mapping[str, Call]) -> dict[str, TimedResponse]:
        """Send all calls concurrently."""
        with ThreadPoolExecutor(len(calls)) as pool:
            return dict(zip(calls, pool.map(lambda call: call.by(self.alice), calls.values()), strict=True))


@pytest.fixture
def desk(site: Site, alice: User, bucket: Bucket) -> Desk:
    return Desk(site, alice, bucket)


def assert_in_time(responses: Mapping[str, TimedResponse]) -> None:
    seconds = {name: round(response.seconds, 1) for name, response in responses.items()}
    assert {name: value for name, value in seconds.items() if value > MAX_RESPONSE_SECONDS} == {}


def states() -> dict[Any, str]:
    return dict(File.objects.values_list("pk", "state"))


# --- the database -----------------------------------------------------------------------------


def test_request_waits_once_for_a_database_that_refuses_connections(site: Site, desk: Desk) -> None:
    with site.database.in_mode("refuse"):
        response = desk.pages["library"].by(desk.alice)
    assert response.status == 503
    assert response.seconds < 2 * settings.DATABASES["default"]["OPTIONS"]["pool"]["timeout"]


@OUTAGES
def test_database_outage_is_503_in_time(mode: Mode, site: Site, desk: Desk, bucket: Bucket) -> None:
    before, objects = states(), bucket.objects()
    pages = desk.pages | desk.moves | {"send": desk.send}
    with site.database.in_mode(mode):
        responses = desk.call_all(pages | desk.protocol)
    assert {name: response.status for name, response in responses.items()} == dict.fromkeys(responses, 503)
    assert {response.headers["Retry-After"] for response in responses.values()} == {"5"}
    assert_in_time(responses)
    assert all(b"<h1>" in responses[name].body for name in pages)
    assert {responses[name].code for name in desk.protocol} == {"unavailable"}
    assert states() == before
    wait_until(lambda: desk.pages["library"].by(desk.alice).status == 200, seconds=RECOVERY_SECONDS)
    again = desk.call_all({str(n): desk.pages["library"] for n in range(32)})
    assert {response.status for response in again.values()} == {200}  # no thread keeps a broken connection
    assert desk.finish.by(desk.alice).status == 200
    assert bucket.objects() == objects


def test_short_outage_fails_one_response(site: Site, desk: Desk) -> None:
    """The pool checks connections before it hands them out, so closed ones are replaced."""
    with site.database.in_mode("refuse"):
        pass
    responses = [desk.pages["library"].by(desk.alice).status for _ in range(10)]
    assert responses.count(200) >= 9


def test_sign_in_page_works_without_the_database(site: Site, roles: None) -> None:
    with site.database.in_mode("refuse"):
        assert Call("GET", "/accounts/login/").by(Visitor(site.url)).status == 200


# --- storage ----------------------------------------------------------------------------------


@OUTAGES
def test_pages_work_without_storage(mode: Mode, site: Site, desk: Desk) -> None:
    with site.store.in_mode(mode):
        pages = desk.call_all(desk.pages)
        moves = desk.call_all(desk.moves)
    assert_in_time(pages | moves)
    assert {name: response.status for name, response in pages.items()} == {
        **dict.fromkeys(desk.pages, 200), "download": 302, "admin": 302, "login": 302,
    }  # fmt: skip
    assert {response.status for response in moves.values()} == {302}
    assert states()[desk.file.pk] == State.TRASHED
    assert states()[desk.large.pk] == State.DELETING  # the sweep continues


def test_sign_in_works_without_storage(site: Site, alice: User) -> None:
    alice.set_password(PASSWORD)
    alice.save()
    visitor = Visitor(site.url)
    with site.store.in_mode("refuse"):
        _response, page = visitor.request("GET", "/accounts/login/")
        token = page.partition(b'csrfmiddlewaretoken" value="')[2].partition(b'"')[0].decode()
        form = f"csrfmiddlewaretoken={token}&username=alice&password={PASSWORD.replace(' ', '+')}".encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert visitor.request("POST", "/accounts/login/", form, headers=kind)[0].status == 302
        assert visitor.request("GET", "/")[0].status == 200


@OUTAGES
def test_uploads_survive_a_storage_outage(mode: Mode, site: Site, desk: Desk) -> None:
    calls = {"look": desk.look, "sign parts": desk.sign_large, "finish": desk.finish}
    with site.store.in_mode(mode):
        responses = desk.call_all(calls)
        started = desk.start.by(desk.alice)
    assert_in_time(responses | {"start": started})
    assert {name: response.status for name, response in responses.items()} == dict.fromkeys(calls, 503)
    assert {response.code for response in responses.values()} == {"unavailable"}
    assert {response.headers["Retry-After"] for response in responses.values()} == {"5"}
    assert started.status == 200
    assert not File.objects.filter(pk=desk.small.pk, state=State.AVAILABLE).exists()
    wait_until(lambda: desk.finish.by(desk.alice).status == 200, seconds=RECOVERY_SECONDS)
    assert states()[desk.small.pk] == State.AVAILABLE
    assert File.objects.filter(state__in=[State.AVAILABLE, State.UPLOADING]).count() == 5


@OUTAGES
def test_upload_started_during_an_outage_continues_afterwards(
    mode: Mode, site: Site, desk: Desk, bucket: Bucket
) -> None:
    with site.store.in_mode(mode):
        (item,) = json.loads(desk.start.by(desk.alice).body)["files"]
    assert put_bytes(item["parts"][0], BODY).status == 200
    finish = Call("POST", "/uploads/finish/", {"files": [{"id": item["id"], "sha256": [sha256(BODY)]}]})
    assert finish.by(desk.alice).status == 200
    assert bucket.read(File.objects.get(pk=item["id"]).key) == BODY


@OUTAGES
def test_form_during_an_outage_is_refused_and_stores_nothing(mode: Mode, site: Site, desk: Desk, alice: User) -> None:
    before = factories.stored_usage(alice)
    with site.store.in_mode(mode):
        response = desk.send.by(desk.alice)
    assert_in_time({"form": response})
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert factories.stored_usage(alice) == before
    assert desk.send.by(desk.alice).status == 200


def test_concurrent_completions_fail_in_time(site: Site, desk: Desk, alice: User) -> None:
    files = [factories.create_file(alice, BODY, state=State.UPLOADING) for _ in range(100)]
    batch = {"files": [{"id": str(file.pk), "sha256": [sha256(BODY)]} for file in files]}
    with site.store.in_mode("hang"):
        response = Call("POST", "/uploads/finish/", batch).by(desk.alice)
    assert_in_time({"batch": response})
    assert (response.status, response.code) == (503, "unavailable")
