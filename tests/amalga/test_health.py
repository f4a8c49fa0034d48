"""Health checks: whether this process is alive, and whether it should receive requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import urllib3
from django.db import connection
from django.test import Client
from pytest_django import Settings

from amalga import __version__
from tests.conftest import serving
from tests.support import storage_proxies
from tests.support.storage_proxies import StorageProxy
from tests.support.tcp_proxy import Mode, Proxy
from uploads.services import health
from uploads.services.health import Check

pytestmark = pytest.mark.django_db

BALANCER = {"Host": "10.0.1.17:8000"}
DATABASES_TURN = 5  # seconds: the timeout of a load balancer


@pytest.fixture(autouse=True)
def empty_probe_cache() -> Iterator[None]:
    health.clear_cache()
    yield
    health.clear_cache()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy for new connections; open connections do not pass through it."""
    params = connection.get_connection_params()
    proxy = Proxy(params["host"], int(params["port"]))
    for name, value in {"HOST": "127.0.0.1", "PORT": proxy.port}.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    yield proxy
    proxy.close()


def get_json(client: Client, path: str = "/readyz") -> tuple[int, Any]:
    response = client.get(path, headers=BALANCER)
    return response.status_code, response.json()


# --- /healthz ---------------------------------------------------------------------------------


def test_healthz_makes_no_queries(client: Client, django_assert_num_queries: Any, storage_proxy: StorageProxy) -> None:
    with django_assert_num_queries(0):
        response = client.get("/healthz", headers=BALANCER)
    assert (response.status_code, response.content, storage_proxy.seen) == (200, b"ok\n", [])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_allowed_host_no_tls_and_no_login(path: str, client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = client.get(path, headers=BALANCER)
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
    assert client.get("/", headers=BALANCER).status_code in {301, 400}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_allow_only_get_and_head_and_are_not_cached(path: str, client: Client) -> None:
    assert client.post(path, headers=BALANCER).status_code == 405
    assert client.head(path, headers=BALANCER).status_code == 200
    response = client.get(path, headers=BALANCER)
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_only_the_exact_probe_path_skips_the_host_check(client: Client) -> None:
    assert client.get("/healthz/").status_code == 404
    assert client.get("/healthz", headers={"Host": "evil.example"}).content == b"ok\n"


# --- /readyz ----------------------------------------------------------------------------------


def test_readyz_reports_ready_with_database_and_storage(client: Client) -> None:
    assert get_json(client) == (200, {"status": "ready", "database": "ok", "storage": "ok"})


@pytest.mark.parametrize("mode", ["refuse", "hang", "reset"])
def test_unreachable_database_is_reported_in_time(client: Client, database: Proxy, mode: Mode) -> None:
    began = time.monotonic()
    with database.in_mode(mode):
        response = client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    assert response.headers["Retry-After"] == "5"
    assert time.monotonic() - began < DATABASES_TURN


def test_readyz_ignores_a_connection_that_is_already_open(client: Client, database: Proxy) -> None:
    """The connection of the request can work while new connections fail."""
    with connection.cursor() as cursor, database.in_mode("refuse"):
        assert get_json(client)[0] == 503
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_readyz_fails_when_connections_are_exhausted(client: Client) -> None:
    with ExitStack() as stack:
        params = {**connection.get_connection_params(), "connect_timeout": 2}
        with suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(**params))
        assert get_json(client)[0] == 503
    time.sleep(health.CACHE_SECONDS)
    assert get_json(client)[0] == 200


def test_replica_configured_as_primary_is_reported(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "check_database", lambda: Check.READ_ONLY)
    assert get_json(client) == (200, {"status": "degraded", "database": "read_only", "storage": "ok"})


@pytest.mark.parametrize("fault", ["503", "broken", "page 502", "hang"])
def test_unavailable_storage_is_reported_but_stays_ready(
    fault: str, client: Client, storage_proxy: StorageProxy
) -> None:
    storage_proxy.rules["*"] = storage_proxy.hang if fault == "hang" else storage_proxies.FAULTS[fault]
    began = time.monotonic()
    assert get_json(client) == (200, {"status": "degraded", "database": "ok", "storage": "unavailable"})
    assert time.monotonic() - began < DATABASES_TURN


def test_storage_without_list_permission_is_available(client: Client, storage_proxy: StorageProxy) -> None:
    """Without ListBucket, S3 returns 403 instead of 404 for a missing object."""
    storage_proxy.rules["*"] = storage_proxies.status(403, "AccessDenied")
    assert get_json(client)[1]["storage"] == "ok"


def test_concurrent_probes_share_one_database_check(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Check] = []

    def slowly() -> Check:
        time.sleep(0.1)
        opened.append(Check.OK)
        return Check.OK

    monkeypatch.setattr(health, "check_database", slowly)
    threads = [threading.Thread(target=health.readiness) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [Check.OK]


def test_readyz_shows_the_version_only_with_the_metrics_token(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = "0123456789abcdef"
    for header, version in {
        "": None,
        "Bearer ": None,
        "Bearer wrong": None,
        "Bearer 0123456789abcdef": __version__,
    }.items():
        assert client.get("/readyz", HTTP_AUTHORIZATION=header).json().get("version") == version
    settings.METRICS_TOKEN = ""
    for header in ("", "Bearer ", "Bearer"):
        assert "version" not in client.get("/readyz", HTTP_AUTHORIZATION=header).json()


def test_readyz_discloses_no_internals(client: Client, database: Proxy) -> None:
    with database.in_mode("refuse"):
        response = client.get("/readyz")
    assert set(response.json()) == {"status", "database", "storage"}
    assert str(database.port).encode() not in response.content


# --- the server -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_server_without_database_is_alive_and_not_ready(tmp_path: Path) -> None:
    params = connection.get_connection_params()
    proxy = Proxy(params["host"], int(params["port"]))
    pool = urllib3.PoolManager(timeout=DATABASES_TURN, retries=False)
    try:
        with serving(tmp_path, {}, database_port=proxy.port) as site:
            assert pool.request("GET", f"{site}/readyz", headers=BALANCER).status == 200
            with proxy.in_mode("refuse"):
                assert pool.request("GET", f"{site}/healthz", headers=BALANCER).status == 200
                time.sleep(health.CACHE_SECONDS)
                assert pool.request("GET", f"{site}/readyz", headers=BALANCER).status == 503
            time.sleep(health.CACHE_SECONDS)
            assert pool.request("GET", f"{site}/readyz", headers=BALANCER).status == 200
    finally:
        proxy.close()
