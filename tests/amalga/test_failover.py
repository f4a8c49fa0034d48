"""Failover to another Postgres server behind the same name, without restarting the application."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from tests.conftest import serving
from tests.ops.test_outages import Call
from tests.support import factories
from tests.support.form_client import Visitor
from tests.support.postgres_standby import Standby, until
from tests.support.tcp_proxy import Proxy
from tests.support.upload_client import sha256

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

BACK_SECONDS = 5
THREADS = 8


@dataclass
class Cluster:
    """Two servers, and a proxy that stands for the DNS name of the primary."""

    first: Standby
    second: Standby
    name: Proxy
    log: Path
    alice: Visitor

    def switch(self) -> None:
        """Fail over as a provider does: promote the standby and point the name to it."""
        self.second.promote()
        self.name.behind = ("127.0.0.1", self.second.port)

    def write(self) -> int:
        item = {"token": str(uuid.uuid4()), "name": "new.txt", "size": 5, "sha256": sha256(b"hello")}
        return Call("POST", "/uploads/", {"files": [item]}).by(self.alice).status

    def read(self) -> str:
        response, page = self.alice.request("GET", "/")
        return page.decode() if response.status == 200 else str(response.status)


@pytest.fixture
def cluster(alice: User, tmp_path: Path) -> Iterator[Cluster]:
    factories.create_file(alice, name="before.txt")
    signed_in = Visitor("http://localhost", alice)
    first = Standby(tmp_path / "first")
    first.catch_up()
    first.promote()
    second = Standby(tmp_path / "second", of=first)
    name = Proxy("127.0.0.1", first.port)
    with serving(tmp_path, {"WEB_CONCURRENCY": "1"}, database_port=name.port) as url:
        visitor = Visitor(url)
        visitor.cookies |= signed_in.cookies
        yield Cluster(first, second, name, tmp_path / "web.log", visitor.open_form())
    name.close()
    second.stop()
    first.stop()


def caught_up(cluster: Cluster) -> None:
    number = cluster.first.fetch_value("SELECT pg_current_wal_insert_lsn()")
    until(lambda: cluster.second.fetch_value(f"SELECT pg_last_wal_replay_lsn() >= '{number}'"))


def turn_read_only(server: Standby) -> None:
    server.fetch_value("ALTER SYSTEM SET default_transaction_read_only = on")
    server.fetch_value("SELECT pg_reload_conf()")


def test_connections_to_a_read_only_old_primary_are_closed(cluster: Cluster) -> None:
    """Its open connections would still return old rows and refuse writes."""
    assert [cluster.write() for _ in range(4)] == [200] * 4
    caught_up(cluster)
    turn_read_only(cluster.first)
    cluster.switch()
    cluster.second.fetch_value(
        "UPDATE uploads_file SET name = 'after.txt', normalized_name = 'after.txt' WHERE name = 'before.txt'"
    )
    assert [cluster.write() for _ in range(4)] == [200] * 4
    assert "after.txt" in cluster.read()
    assert cluster.second.fetch_value("SELECT count(*) FROM uploads_file WHERE name = 'new.txt'") == 8
    assert cluster.first.fetch_value("SELECT count(*) FROM uploads_file WHERE name = 'new.txt'") == 4


@pytest.mark.faults
def test_killed_primary_under_load_causes_errors_only_until_failover(cluster: Cluster) -> None:
    statuses: dict[str, Counter[int]] = {"away": Counter(), "back": Counter()}
    phase, stop = ["away"], threading.Event()

    def request_pages() -> None:
        while not stop.is_set():
            statuses[phase[0]][cluster.write()] += 1

    threads = [threading.Thread(target=request_pages) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    cluster.first.kill()
    time.sleep(1)
    cluster.switch()
    until(lambda: cluster.write() == 200, seconds=BACK_SECONDS)
    time.sleep(1)  # requests sent before the recovery
    phase[0] = "back"
    time.sleep(2)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses["away"]) == {200, 503}
    assert set(statuses["back"]) == {200}
    assert len(re.findall("Booting worker", cluster.log.read_text())) == 1


@pytest.mark.faults
def test_acknowledged_writes_survive_the_failover(cluster: Cluster) -> None:
    """If the standby has replayed them, as in Multi-AZ, where commits wait for the standby."""
    written = sum(cluster.write() == 200 for _ in range(10))
    caught_up(cluster)
    cluster.first.kill()
    cluster.switch()
    until(lambda: cluster.write() == 200, seconds=BACK_SECONDS)
    assert cluster.second.fetch_value("SELECT count(*) FROM uploads_file WHERE name = 'new.txt'") == written + 1
