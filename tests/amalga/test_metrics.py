"""Prometheus metrics: requests, storage calls and library state, with cheap queries."""

from __future__ import annotations

import os
import re
import runpy
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from amalga.metrics import Sample, error_class, exposition
from tests.amalga.test_settings import read
from tests.conftest import PROJECT, serving
from tests.support import factories, storage_proxies
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import (
    ChecksumStatus,
    File,
    Heartbeat,
    MailState,
    OutgoingMail,
    Report,
    RunOutcome,
    State,
    apply_deltas,
)
from uploads.models.querysets import seconds_from_now
from uploads.services import metrics
from uploads.services.tasks import preview_files

pytestmark = pytest.mark.django_db

TOKEN = "a-token-of-these-tests"
SCRAPER = {"Authorization": f"Bearer {TOKEN}", "Host": "10.0.1.17:8000"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the value of a sample, or 0 if it has not been counted yet."""
    return samples.get((f"amalga_{name}", frozenset(labels.items())), 0)


@pytest.fixture(autouse=True)
def token(settings: Settings) -> Iterator[None]:
    settings.METRICS_TOKEN = TOKEN
    metrics.clear_cache()
    yield
    metrics.clear_cache()


def scraped(client: Client) -> Samples:
    metrics.clear_cache()
    response = client.get("/metrics", headers=SCRAPER)
    assert response.status_code == 200
    return parsed(response.content.decode())


# --- access -----------------------------------------------------------------------------------


def test_metrics_return_404_without_a_configured_token(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", headers=SCRAPER).status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", TOKEN, f"bearer {TOKEN}x", "Bearer é"])
def test_metrics_require_the_exact_token(sent: str, as_admin: Client) -> None:
    response = as_admin.get("/metrics", headers={"Authorization": sent})
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')
    assert b"amalga_" not in response.content


def test_scrape_needs_no_allowed_host_and_sets_no_cookie(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = client.get("/metrics", headers=SCRAPER)
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "Set-Cookie" not in response.headers
    assert client.post("/metrics", headers=SCRAPER).status_code == 405


@pytest.mark.parametrize("odd", ["short", "with a blank in it", "x" * 201, "é" * 20])
def test_weak_metrics_token_is_rejected_without_printing_it(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="METRICS_TOKEN") as refused:
        read(monkeypatch, METRICS_TOKEN=odd)
    assert odd not in str(refused.value)


def test_metrics_token_can_begin_with_a_dollar_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, METRICS_TOKEN="$0123456789abcdef")["METRICS_TOKEN"] == "$0123456789abcdef"


# --- request and storage counters -------------------------------------------------------------


def test_requests_are_counted_by_route(as_alice: Client, alice: User) -> None:
    file = factories.create_file(alice)
    before = scraped(as_alice)
    as_alice.get(file.get_absolute_url())
    as_alice.post(reverse("trash_file", args=[file.pk]))
    after = scraped(as_alice)
    for route, method, status in (("file", "GET", "200"), ("trash_file", "POST", "302")):
        labels = {"route": route, "method": method, "status": status}
        assert value(after, "http_requests_total", **labels) == value(before, "http_requests_total", **labels) + 1
    seconds = {"route": "file", "le": "10.0"}
    assert (
        value(after, "http_request_duration_seconds_bucket", **seconds)
        == value(before, "http_request_duration_seconds_bucket", **seconds) + 1
    )


def test_user_input_does_not_become_a_label(as_alice: Client) -> None:
    as_alice.generic("FORGED", "/nothing/of/mine?name=secret")
    as_alice.get("/files/6d0c4f5e-3d0b-4b52-9d7e-1f2a3b4c5d6e/")
    text = as_alice.get("/metrics", headers=SCRAPER).content.decode()
    assert 'amalga_http_requests_total{method="other",route="none",status="404"}' in text
    for word in ("FORGED", "nothing", "secret", "6d0c4f5e", "alice"):
        assert word not in text


def test_server_errors_are_counted(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    as_alice.raise_request_exception = False
    labels = {"route": "library", "method": "GET", "status": "500"}
    before = value(scraped(as_alice), "http_requests_total", **labels)
    monkeypatch.setattr("uploads.views.library.read_list_query", lambda *_, **__: 1 / 0)
    as_alice.get("/")
    assert value(scraped(as_alice), "http_requests_total", **labels) == before + 1


def test_storage_calls_and_their_errors_are_counted(
    upload_client: UploadClient, client: Client, bucket: Bucket, settings: Settings
) -> None:
    before = scraped(client)
    upload_client.send(b"hello")
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["*"] = storage_proxies.FAULTS["503"]
        with pytest.raises(StorageUnavailable):
            s3.ping()
    after = scraped(client)
    called = {"operation": "get_object"}
    assert value(after, "s3_errors_total", operation="get_object", kind="throttled") >= 1
    assert value(after, "s3_request_duration_seconds_count", **called) > value(
        before, "s3_request_duration_seconds_count", **called
    )


@pytest.mark.parametrize(("code", "kind"), [
    ("SlowDown", "throttled"), ("503", "throttled"), ("AccessDenied", "denied"), ("403", "denied"),
    ("InternalError", "server_error"), ("502", "server_error"), ("MaxRetryError", "no_response"),
    ("ReadTimeoutError", "no_response"),
    ("EndpointConnectionError", "no_response"), ("ConnectTimeout", "no_response"), ("NoSuchBucket", "other"),
    ("<x>", "other"),
])  # fmt: skip
def test_errors_are_counted_by_kind(code: str, kind: str) -> None:
    assert error_class(code) == kind


def test_throttled_request_that_is_retried_is_counted(client: Client, bucket: Bucket, settings: Settings) -> None:
    before = value(scraped(client), "s3_throttled_total")
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        rules = iter([storage_proxies.status(503, "SlowDown")])
        proxy.rules["put"] = lambda request: next(rules, storage_proxies.Request.forward)(request)
        s3.put("f/" + "0" * 32, b"x", sha256="LXEWQrcmsEQBYnyp9m4Bv0KBd6aNHJcFkYsbdHMiDXg=")
    assert value(scraped(client), "s3_throttled_total") == before + 1


# --- library state ----------------------------------------------------------------------------


def test_states_have_count_and_oldest_age(client: Client, alice: User) -> None:
    for state in (State.UPLOADING, State.UPLOADING, State.DELETING, State.AVAILABLE):
        factories.create_file(alice, state=state)
    File.objects.filter(state=State.DELETING).update(updated_at=seconds_from_now(-3600))
    apply_deltas()
    samples = scraped(client)
    files = {
        state: value(samples, "files", state=state) for state in ("uploading", "completing", "deleting", "available")
    }
    assert files == {"uploading": 2, "completing": 0, "deleting": 1, "available": 1}
    assert 3600 <= value(samples, "oldest_file_age_seconds", state="deleting") < 3700
    assert value(samples, "oldest_file_age_seconds", state="completing") == 0


def test_overdue_and_corrupted_files_are_counted(client: Client, alice: User) -> None:
    factories.create_file(alice, state=State.TRASHED)
    File.objects.update(purge_after=seconds_from_now(-7200))
    for status in (ChecksumStatus.CORRUPTED, ChecksumStatus.MISSING, ChecksumStatus.MISSING, ChecksumStatus.UNVERIFIED):
        file = factories.create_file(alice)
        File.objects.filter(pk=file.pk).update(checksum_status=status)
    samples = scraped(client)
    assert 7200 <= value(samples, "trash_overdue_seconds") < 7300
    assert value(samples, "checksum_failed_files", status="missing") == 2
    assert value(samples, "checksum_failed_files", status="corrupted") == 1
    assert value(samples, "unverified_files") == 1


def add_task(*, enqueued: timedelta, run_after: Any = None, status: str = "READY") -> None:
    task = {"args_kwargs": {"args": [], "kwargs": {}}, "task_path": "x", "backend_name": "default", "status": status}
    result = DBTaskResult.objects.create(run_after=run_after or get_date_max(), **task)
    DBTaskResult.objects.filter(pk=result.pk).update(enqueued_at=timezone.now() - enqueued)


def test_queue_metric_counts_ready_tasks(client: Client) -> None:
    now = timezone.now()
    add_task(enqueued=timedelta(minutes=5))
    add_task(enqueued=timedelta(minutes=1))
    add_task(enqueued=timedelta(days=2), run_after=now + timedelta(hours=1))  # postponed until storage is available
    add_task(enqueued=timedelta(days=2), run_after=now - timedelta(minutes=9))
    add_task(enqueued=timedelta(days=2), status="SUCCESSFUL")
    samples = scraped(client)
    assert value(samples, "queue_tasks") == 3
    assert 540 <= value(samples, "queue_oldest_age_seconds") < 600


def test_queue_metric_includes_a_new_task(client: Client) -> None:
    preview_files.enqueue([])
    assert value(scraped(client), "queue_tasks") == 1


def test_empty_queue_has_age_zero(client: Client) -> None:
    assert (value(scraped(client), "queue_tasks"), metrics.queue_now()) == (0, (0, 0.0))


def test_waiting_and_recently_failed_mails_are_counted(client: Client) -> None:
    ended = {MailState.WAITING: 2, MailState.SENT: 4, MailState.REFUSED: 1, MailState.UNKNOWN: 2}
    OutgoingMail.objects.bulk_create(OutgoingMail(state=state) for state, count in ended.items() for _ in range(count))
    OutgoingMail.objects.create(state=MailState.ABANDONED, changed_at=timezone.now() - timedelta(days=2))
    samples = scraped(client)
    assert [value(samples, "mails", state=state) for state in ("waiting", "failed")] == [2, 3]


def test_commands_have_time_and_status_of_last_run(client: Client) -> None:
    Heartbeat.objects.beat("sweep")
    for outcome in (RunOutcome.SUCCEEDED, RunOutcome.DIFFERENCES, RunOutcome.REFUSED):
        Report.objects.create(command="fsck").end(outcome)
    samples = scraped(client)
    assert time.time() - value(samples, "last_heartbeat_timestamp_seconds", command="sweep") < 60
    assert time.time() - value(samples, "last_report_timestamp_seconds", command="fsck") < 60
    assert value(samples, "last_report_in_sync", command="fsck") == 0
    assert not [name for name in samples if ("command", "verify") in name[1]]


def test_request_metrics_are_available_without_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def away(*_: object) -> Any:
        raise OperationalError("away")

    client.get("/nothing")
    monkeypatch.setattr(metrics, "_states", away)
    monkeypatch.setattr(connection, "close", lambda: None)  # keep the connection of the test open
    samples = scraped(client)
    assert value(samples, "library_query_success") == 0
    assert any(name == "amalga_http_requests_total" for name, _labels in samples)


def test_concurrent_scrapes_share_one_query(client: Client, django_assert_num_queries: Any) -> None:
    scraped(client)
    with django_assert_num_queries(0):
        assert client.get("/metrics", headers=SCRAPER).status_code == 200


@pytest.mark.parametrize("query", [
    *(metrics.FILES_IN_STATE.format(state=state, limit=10) for state in metrics.MOVING), metrics.TOTALS,
    metrics.OVERDUE_TRASH,
    metrics.UNVERIFIED.format(limit=10), metrics.BROKEN.format(limit=10),
])  # fmt: skip
def test_metric_queries_do_not_scan_the_whole_file_table(query: str) -> None:
    """With few rows Postgres prefers a sequential scan, so the test disables it."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {query}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET enable_seqscan; RESET enable_bitmapscan")
    assert "Seq Scan on uploads_file" not in plan
    assert "LIMIT" in query or "count(*)" not in query


# --- several processes ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_counters_of_all_workers_are_summed_and_survive_a_kill(tmp_path: Path, roles: None, client: Client) -> None:
    http = urllib3.PoolManager(retries=False)
    with serving(tmp_path, {"METRICS_TOKEN": TOKEN, "WEB_CONCURRENCY": "2"}) as site:
        for _ in range(20):
            http.request("GET", f"{site}/nothing", headers={"Connection": "close"})
        assert missing_pages(site) == 20
        folder = kill_worker(tmp_path)
        http.request("GET", f"{site}/nothing", headers={"Connection": "close"})
        assert missing_pages(site) == 21
    assert not folder.exists()


def missing_pages(site: str) -> float:
    response = urllib3.request("GET", f"{site}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    samples = parsed(response.data.decode())
    assert value(samples, "resident_memory_bytes") > 1_000_000
    return value(samples, "http_requests_total", route="none", method="GET", status="404")


def kill_worker(log_folder: Path) -> Path:
    """Kill one, wait until its gauges are gone, and return the folder of the metrics."""
    import psutil

    master = psutil.Process(int((log_folder / "web.pid").read_text()))
    (folder,) = Path("/dev/shm").glob(f"amalga-metrics-{master.pid}-*")  # noqa: S108
    worker = next(child for child in master.children() if (folder / f"gauge_livesum_{child.pid}.db").exists())
    worker.kill()
    end = time.monotonic() + 10
    while (folder / f"gauge_livesum_{worker.pid}.db").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    return folder


def test_empty_metrics_file_of_a_starting_process_is_retried(tmp_path: Path) -> None:
    empty = tmp_path / f"counter_{os.getpid()}.db"
    empty.touch()
    threading.Timer(0.06, empty.unlink).start()
    assert b"amalga_x 1.0" in exposition([Sample("x", 1)], folder=str(tmp_path))


def test_folder_of_a_killed_server_is_deleted_by_the_next(tmp_path: Path) -> None:
    configuration = runpy.run_path(str(PROJECT / "amalga" / "gunicorn_conf.py"))
    leftover, running = (tmp_path / f"amalga-metrics-{pid}-x" for pid in (999_999_999, os.getpid()))
    leftover.mkdir()
    running.mkdir()
    created = configuration["new_metrics_folder"](tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([running, Path(created)])


def test_documentation_lists_exactly_the_metrics(client: Client) -> None:
    metrics.clear_cache()
    Heartbeat.objects.beat("sweep")
    Report.objects.create(command="fsck").end(RunOutcome.SUCCEEDED)
    client.get("/nothing")
    response = client.get("/metrics", headers=SCRAPER).content.decode()
    exposed = set(re.findall(r"^# TYPE (amalga_\w+) ", response, re.MULTILINE))
    page = (PROJECT / "docs" / "operate" / "monitoring.md").read_text()
    named = {name.removesuffix("_bucket") for name in re.findall(r"\bamalga_\w+", page)}
    assert named == exposed
