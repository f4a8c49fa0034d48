"""Lists and searches use a replica; users see their own writes at once, and revoked access ends at once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.core.signing import Signer

from tests.conftest import serving
from tests.support import factories
from tests.support.file_rows import ensure_folder
from tests.support.form_client import MULTIPART, Chosen, Form, Visitor
from tests.support.postgres_standby import Standby, until
from tests.support.stores import Bucket
from tests.support.tcp_proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

WRITTEN = "amalga-lsn"
LISTS = ("/", "/?q=report", "/?sort=name&subfolders=1")
IN_TIME = 10


@dataclass
class Pair:
    """A site with a primary and a replica; the replica is behind a proxy."""

    url: str
    standby: Standby
    proxy: Proxy
    log: Path


@pytest.fixture(scope="module")
def pair(standby: Standby, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("replica")
    proxy = Proxy("127.0.0.1", standby.port)
    url = standby.url.replace(f":{standby.port}/", f":{proxy.port}/")
    with serving(folder, {"READ_DATABASE_URL": url, "WEB_CONCURRENCY": "1"}) as site:
        yield Pair(site, standby, proxy, folder / "web.log")
    proxy.close()


@pytest.fixture
def paused_standby(pair: Pair, alice_at: Visitor) -> Iterator[Standby]:
    """Pause replay on the replica, which serves lists to users without recent writes."""
    warm(pair, alice_at)
    with pair.standby.paused():
        yield pair.standby


@pytest.fixture
def alice_at(pair: Pair, alice: User, bucket: Bucket) -> Visitor:
    return Visitor(pair.url, alice).open_form()


@pytest.fixture
def bob_at(pair: Pair, bob: User) -> Visitor:
    return Visitor(pair.url, bob)


def page(visitor: Visitor, path: str) -> str:
    response, body = visitor.request("GET", path)
    assert response.status == 200
    return body.decode()


def from_replica(pair: Pair, visitor: Visitor, path: str) -> bool:
    """Return whether the replica was queried for this list."""
    before = len(pair.standby.last_queries())
    page(visitor, path)
    return '"uploads_file"' in pair.standby.last_queries()[before:]


def warm(pair: Pair, visitor: Visitor) -> None:
    """Wait until the process uses the replica, which has caught up with the primary."""
    pair.standby.catch_up()
    until(lambda: from_replica(pair, visitor, "/?q=warm"))


def send(visitor: Visitor, name: str) -> None:
    body = Form([Chosen(name)], token=visitor.token).body()
    response, _page = visitor.request("POST", "/upload/", body, headers={"Content-Type": MULTIPART})
    assert response.status == 200


def press(visitor: Visitor, path: str, **fields: object) -> None:
    headers = {"X-CSRFToken": visitor.token, "Content-Type": "application/x-www-form-urlencoded"}
    response, _page = visitor.request("POST", path, urlencode(fields).encode(), headers=headers)
    assert response.status == 302


# --- replica or primary -----------------------------------------------------------------------


@pytest.mark.parametrize("path", LISTS)
def test_lists_and_searches_are_read_from_the_replica(path: str, pair: Pair, alice: User, alice_at: Visitor) -> None:
    factories.create_file(alice, name="report one.txt")
    pair.standby.catch_up()
    until(lambda: from_replica(pair, alice_at, path))
    assert "report one.txt" in page(alice_at, path)


def test_other_pages_are_read_from_the_primary(pair: Pair, alice: User, alice_at: Visitor) -> None:
    file = factories.create_file(alice)
    warm(pair, alice_at)
    before = len(pair.standby.last_queries())
    for path in (f"/files/{file.pk}/", "/unfinished/", "/uploads/", "/upload/", "/tags/"):
        page(alice_at, path)
    assert "uploads_" not in pair.standby.last_queries()[before:]
    assert not re.search(r"django_session|auth_permission|: (INSERT|UPDATE|DELETE)", pair.standby.last_queries())


# --- own writes -------------------------------------------------------------------------------


def test_own_upload_is_listed_at_once(paused_standby: Standby, alice_at: Visitor) -> None:
    send(alice_at, "report new.txt")
    for path in LISTS:
        assert "report new.txt" in page(alice_at, path)


def test_own_changes_are_visible_at_once(pair: Pair, paused_standby: Standby, alice: User, alice_at: Visitor) -> None:
    file = factories.create_file(alice, name="report old.txt")
    folder = ensure_folder("Brand", alice)
    press(alice_at, f"/files/{file.pk}/rename", name="report other.txt")
    assert "report other.txt" in page(alice_at, "/")
    press(alice_at, f"/files/{file.pk}/move", to=folder.pk, go=1)
    assert "report other.txt" in page(alice_at, f"/folders/{folder.pk}/")
    press(alice_at, f"/files/{file.pk}/trash")
    assert "to trash." in page(alice_at, "/unfinished/")
    assert "report other.txt" not in page(alice_at, "/?q=report")
    assert "report other.txt" in page(alice_at, "/trash/")


def test_replica_is_used_again_once_it_has_replayed_the_write(pair: Pair, alice_at: Visitor) -> None:
    send(alice_at, "report new.txt")
    assert WRITTEN in alice_at.cookies
    pair.standby.catch_up()
    until(lambda: from_replica(pair, alice_at, "/?q=report"))
    assert "report new.txt" in page(alice_at, "/?q=report")


# --- changes by others ------------------------------------------------------------------------


def test_removed_permission_is_effective_at_once(pair: Pair, alice: User, bob: User, bob_at: Visitor) -> None:
    factories.create_file(alice, name="report one.txt")
    pair.standby.catch_up()
    assert "report one.txt" in page(bob_at, "/?q=one")
    bob.groups.clear()
    assert "report one.txt" not in page(bob_at, "/?q=one")


def test_lagging_replica_is_skipped_after_some_seconds(
    pair: Pair, paused_standby: Standby, alice: User, bob_at: Visitor
) -> None:
    """Lists switch to the primary when the replica lags too far."""
    factories.create_file(alice, name="report late.txt")
    until(lambda: "report late.txt" in page(bob_at, "/?q=report"), seconds=7)


# --- unavailable replica ----------------------------------------------------------------------


LONG = pytest.mark.faults


@pytest.mark.parametrize("mode", ["hang", pytest.param("refuse", marks=LONG), pytest.param("reset", marks=LONG)])
def test_unavailable_replica_falls_back_to_the_primary_in_time(
    mode: str, pair: Pair, alice: User, alice_at: Visitor
) -> None:
    factories.create_file(alice, name="report one.txt")
    warm(pair, alice_at)
    with pair.proxy.in_mode(mode):  # type: ignore[arg-type]
        start = time.monotonic()
        assert "report one.txt" in page(alice_at, "/?q=report")
        assert time.monotonic() - start < IN_TIME
        start = time.monotonic()
        assert "report one.txt" in page(alice_at, "/?q=report")
        assert time.monotonic() - start < 1  # the replica is not retried at once
    assert "replica_disabled" in pair.log.read_text()
    until(lambda: from_replica(pair, alice_at, "/?q=report"), seconds=12)


# --- cookie -----------------------------------------------------------------------------------


def test_unsigned_cookie_is_ignored(pair: Pair, alice_at: Visitor) -> None:
    alice_at.cookies[WRITTEN] = f"{2**60}:not-signed"
    warm(pair, alice_at)
    alice_at.cookies[WRITTEN] = Signer(salt="replica").sign(str(2**60))
    assert not any(from_replica(pair, alice_at, "/?q=report") for _ in range(3))


def test_read_requests_set_no_cookie(pair: Pair, alice_at: Visitor) -> None:
    for path in LISTS:
        page(alice_at, path)
    assert WRITTEN not in alice_at.cookies
