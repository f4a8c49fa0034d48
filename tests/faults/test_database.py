"""The database refuses connections or writes, or fails for a while: reported as 503, never as an internal error."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection

from tests.conftest import serving
from tests.ops.test_outages import Call, TimedResponse
from tests.support import factories, storage_proxies
from tests.support.connections import close_other_connections
from tests.support.databases import execute
from tests.support.file_rows import ensure_folder
from tests.support.form_client import Chosen, Form, Visitor
from tests.support.storage_proxies import StorageProxy
from tests.support.stores import Address, Bucket
from tests.support.tcp_proxy import Proxy
from tests.support.upload_client import sha256
from tests.support.waiting import wait_until
from uploads.models import Event, File, State

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

BODY = b"hello"
PART = 5 * 1024**2
BACK_SECONDS = 5
THREADS = 8


@dataclass
class Site:
    url: str
    database: Proxy
    store: StorageProxy
    log: Path


@pytest.fixture(scope="module")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gunicorn with a storage proxy that records its requests."""
    folder = tmp_path_factory.mktemp("database")
    behind = connection.settings_dict
    proxy = Proxy(behind["HOST"], int(behind["PORT"]))
    with storage_proxies.run_storage_proxy(Address.of_this_run().endpoint) as store:
        variables = {"AWS_ENDPOINT_URL_S3": store.url, "UPLOAD_PART_BYTES": str(PART)}
        with serving(folder, variables, database_port=proxy.port) as url:
            yield Site(url, proxy, store, folder / "web.log")
    proxy.close()


class Desk:
    """Alice, with a file in every state, and all her requests that read or write."""

    def __init__(self, site: Site, alice: User, bucket: Bucket) -> None:
        self.visitor = Visitor(site.url, alice).open_form()
        self.file = factories.create_file(alice, BODY, bucket=bucket)
        self.small = factories.create_file(alice, BODY, state=State.UPLOADING, bucket=bucket)
        self.large = factories.create_file(alice, b"x" * (PART + 1), state=State.UPLOADING, part_size=PART)
        self.trashed = factories.create_file(alice, BODY, state=State.TRASHED, bucket=bucket)
        self.folder = ensure_folder("Brand", alice)

    def reading(self) -> dict[str, Call]:
        pages = {"library": "/", "file": f"/files/{self.file.pk}/", "trash": "/trash/", "unfinished": "/unfinished/",
                 "form": "/upload/", "folder": f"/folders/{self.folder.pk}/", "tags": "/tags/",
                 "download": f"/files/{self.file.pk}/download", "look": f"/uploads/{self.small.pk}/",
                 "uploads": "/uploads/", "search": "/?q=report", "login": "/accounts/login/"}  # fmt: skip
        return {name: Call("GET", path) for name, path in pages.items()}

    def new(self) -> Call:
        item = {"token": str(uuid.uuid4()), "name": "new.txt", "size": len(BODY), "sha256": sha256(BODY)}
        return Call("POST", "/uploads/", {"files": [item]})

    def protocol(self) -> dict[str, Call]:
        claim = {"id": str(self.small.pk), "sha256": [sha256(BODY)]}
        return {
            "start": self.new(),
            "sign": Call("POST", f"/uploads/{self.small.pk}/parts/", {"parts": [{"number": 1}]}),
            "sign parts": Call("POST", f"/uploads/{self.large.pk}/parts/", {"parts": [{"number": 1}]}),
            "finish": Call("POST", "/uploads/finish/", {"files": [claim]}),
            "cancel": Call("DELETE", f"/uploads/{self.large.pk}/"),
            "form": Call("POST", "/upload/", Form([Chosen("plain.txt", BODY)])),
        }

    def clicks(self) -> dict[str, tuple[str, dict[str, object]]]:
        file, folder = f"/files/{self.file.pk}", f"/folders/{self.folder.pk}"
        return {
            "trash": (f"{file}/trash", {}),
            "restore": (f"/files/{self.trashed.pk}/restore", {}),
            "rename": (f"{file}/rename", {"name": "other.txt"}),
            "move": (f"{file}/move", {"to": self.folder.pk, "go": 1}),
            "tag": (f"{file}/tag", {"add": "final"}),
            "visibility": (f"{file}/visibility", {"visibility": "private"}),
            "bulk": ("/files/bulk", {"do": "trash", "file": str(self.file.pk)}),
            "give up": (f"/unfinished/{self.large.pk}/cancel", {}),
            "new folder": ("/folders/", {"name": "Logos"}),
            "rename folder": (f"{folder}/rename", {"name": "Brands"}),
            "remove folder": (f"{folder}/remove", {"go": 1}),
            "sign out": ("/accounts/logout/", {}),
        }

    def press(self, name: str) -> TimedResponse:
        path, fields = self.clicks()[name]
        headers = {"X-CSRFToken": self.visitor.token, "Content-Type": "application/x-www-form-urlencoded"}
        response, page = self.visitor.request("POST", path, urlencode(fields).encode(), headers=headers)
        return TimedResponse(response.status, response.headers, page, 0)

    def writing(self) -> dict[str, TimedResponse]:
        responses = {name: call.by(self.visitor) for name, call in self.protocol().items()}
        return responses | {name: self.press(name) for name in self.clicks()}


@pytest.fixture
def desk(site: Site, alice: User, bucket: Bucket) -> Desk:
    return Desk(site, alice, bucket)


@contextmanager
def read_only() -> Iterator[None]:
    """As after a failover: new connections go to a replica."""
    name = connection.settings_dict["NAME"]
    execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    close_other_connections()
    try:
        yield
    finally:
        execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')


@contextmanager
def disk_full() -> Iterator[None]:
    """Every write fails with the error that Postgres raises when its disk is full."""
    error = "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'"
    execute(f"CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {error}; END $$")
    each = 'BEFORE INSERT OR UPDATE ON "{}" FOR EACH STATEMENT EXECUTE FUNCTION no_room()'
    for table in connection.introspection.table_names():
        execute(f"CREATE TRIGGER no_room {each.format(table)}")
    try:
        yield
    finally:
        execute("DROP FUNCTION no_room CASCADE")


def assert_unavailable(responses: dict[str, TimedResponse]) -> None:
    assert {name: response.status for name, response in responses.items()} == dict.fromkeys(responses, 503)
    assert {response.headers["Retry-After"] for response in responses.values()} == {"5"}


def assert_works(desk: Desk) -> None:
    """Assert that requests succeed within five seconds, without a restart or another sign-in."""
    wait_until(lambda: desk.new().by(desk.visitor).status == 200, seconds=BACK_SECONDS)
    # each gunicorn process may have to replace its connections first
    wait_until(lambda: desk.protocol()["finish"].by(desk.visitor).status == 200, seconds=BACK_SECONDS)
    assert File.objects.get(pk=desk.small.pk).state == State.AVAILABLE
    wait_until(lambda: desk.press("trash").status == 302, seconds=BACK_SECONDS)


def states() -> list[tuple[object, ...]]:
    return list(File.objects.order_by("pk").values_list("pk", "state", "name", "folder_id", "visibility", "current"))


def test_read_only_database_allows_reads_and_refuses_writes(site: Site, desk: Desk) -> None:
    before = states()
    with read_only():
        wait_until(lambda: desk.reading()["library"].by(desk.visitor).status == 200, seconds=BACK_SECONDS)
        read = {name: call.by(desk.visitor).status for name, call in desk.reading().items()}
        written = desk.writing()
    assert read == {**dict.fromkeys(read, 200), "download": 302, "login": 302}
    assert_unavailable(written)
    assert states() == before
    assert not Event.objects.filter(action="download").exists()
    assert f"download_event_not_saved file={desk.file.pk}" in site.log.read_text()
    assert_works(desk)


def test_connections_to_a_read_only_server_are_replaced(site: Site, desk: Desk) -> None:
    """After one failed write, the pool drops all connections to that server."""
    with read_only():
        wait_until(lambda: desk.reading()["library"].by(desk.visitor).status == 200, seconds=BACK_SECONDS)
    responses = Counter(desk.new().by(desk.visitor).status for _ in range(20))
    assert responses[503] <= 2  # one for each process of gunicorn
    assert responses[200] + responses[503] == 20


def test_full_database_disk_refuses_writes_without_storage_calls(site: Site, desk: Desk) -> None:
    before = states()
    with disk_full():
        site.store.seen.clear()
        started = desk.new().by(desk.visitor)
        assert site.store.seen == []
        read = {name: call.by(desk.visitor).status for name, call in desk.reading().items()}
        written = desk.writing()
    written.pop("sign out")
    assert_unavailable({"start": started} | written)
    assert read == {**dict.fromkeys(read, 200), "download": 302, "login": 302}
    assert states() == before
    assert_works(Desk(site, User.objects.get(username="alice"), Bucket(Address.of_this_run())))


def test_full_disk_of_storage_leaves_no_partial_object(site: Site, desk: Desk, alice: User, bucket: Bucket) -> None:
    used, objects = factories.stored_usage(alice), bucket.objects()
    for code, name in ((507, "InsufficientStorage"), (500, "InternalError")):
        site.store.rules = {"put": storage_proxies.status(code, name), "part": storage_proxies.status(code, name)}
        for body in (BODY, b"x" * (PART + 1)):
            response = Call("POST", "/upload/", Form([Chosen("plain.txt", body)])).by(desk.visitor)
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
    site.store.rules = {}
    assert factories.stored_usage(alice) == used
    assert bucket.objects() == objects
    assert not [key for key, _id in bucket.multipart_uploads() if key != desk.large.key]


def load_during(desk: Desk, break_it: Callable[[], object]) -> dict[str, Counter[int]]:
    """Return the responses to eight users before, during and after the outage; afterwards from five seconds on."""
    statuses: dict[str, Counter[int]] = {"away": Counter(), "back": Counter()}
    phase = ["away"]
    stop = threading.Event()

    def request_page() -> None:
        while not stop.is_set():
            statuses[phase[0]][desk.reading()["library"].by(desk.visitor).status] += 1

    threads = [threading.Thread(target=request_page) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    break_it()
    wait_until(
        lambda: all(desk.reading()["library"].by(desk.visitor).status == 200 for _ in range(4)), seconds=BACK_SECONDS
    )
    phase[0] = "back"
    wait_until(lambda: statuses["back"][200] > THREADS)
    stop.set()
    for thread in threads:
        thread.join()
    return statuses


def test_database_restart_under_load_fails_only_requests_during_it(site: Site, desk: Desk) -> None:
    def restart() -> None:
        with site.database.in_mode("refuse"):
            close_other_connections()
            time.sleep(1)

    statuses = load_during(desk, restart)
    assert set(statuses["away"]) <= {200, 503}
    assert statuses["back"][503] <= THREADS  # requests from before the database was back
    assert statuses["back"][200] > THREADS
    assert_works(desk)


def test_terminated_database_connections_fail_one_response_each(site: Site, desk: Desk) -> None:
    statuses = load_during(desk, close_other_connections)
    assert set(statuses["away"] + statuses["back"]) <= {200, 503}
    assert (statuses["away"] + statuses["back"])[503] <= 2 * THREADS
    assert json.loads(desk.new().by(desk.visitor).body)["files"][0]["state"] == State.UPLOADING
