"""docs/operate/timeouts.md lists every time limit: the numbers are those in use, and in the right order."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff
from django.conf import settings

import amalga.db
from amalga import probes, sentry
from amalga.db import replica
from tests.amalga.test_settings import read
from tests.conftest import PROJECT
from uploads import s3
from uploads.accounts import password_reset, sessions, throttling
from uploads.actions import undo
from uploads.listing import pagination
from uploads.models import querysets
from uploads.previews import renderer, sandbox
from uploads.s3 import bucket_policies, client, downloads, errors, listing, objects, signing, streams
from uploads.s3.stores import main_store
from uploads.services import (
    bucket_guard,
    circuit_breaker,
    doctor,
    fair_use,
    file_requests,
    guess_limit,
    hand_over,
    health,
    metrics,
    orphaned_multiparts,
    previews,
    provision,
    shared_files,
    task_queue,
    tasks,
    zips,
)
from uploads.services.doctor import database as doctor_database
from uploads.services.doctor import database_connection, storage
from uploads.services.doctor import results as limits_of_doctor
from uploads.services.erase import MAX_CLOCK_SKEW_SECONDS, urls_expired
from uploads.services.fsck import run as fsck_run
from uploads.services.fsck import streams as fsck_rows
from uploads.services.mail import outgoing, smtp
from uploads.services.malware import scanners
from uploads.services.malware import tasks as malware_tasks
from uploads.services.move_store import rows
from uploads.services.sweep import expiry as sweep_expiry
from uploads.services.sweep import leases
from uploads.views import shared

UNITS = {"s": 1, "times": 1, "day": 24 * 3600, "days": 24 * 3600}
ROW = re.compile(r"^\| ([^|]+) \| ([\d.]+) (s|times|days?) \| ([^|]*) \|", re.MULTILINE)
YOURS = {
    "response to a person", "load balancer: idle", "load balancer: deregistration delay", "load balancer: health check",
    "platform: kill of the web process", "platform: kill of the worker",
}  # fmt: skip

DOCUMENTED = {what: float(number) * UNITS[unit] for what, number, unit, _where in ROW.findall(
    (PROJECT / "docs" / "operate" / "timeouts.md").read_text())}  # fmt: skip


def of_script(file: str, name: str) -> float:
    """A number of milliseconds in one of our scripts, as seconds."""
    text = (PROJECT / "uploads" / "static" / "uploads" / "js" / file).read_text()
    match = re.search(rf"^const {name} = ([\d_ *]+);", text, re.MULTILINE)
    assert match
    product = 1
    for factor in match[1].split("*"):
        product *= int(factor.strip().replace("_", ""))
    return product / 1000


def of_proxy(files: str, name: str) -> float:
    """A number of seconds in files of nginx or Caddy; the same wherever they say it."""
    text = "".join(path.read_text() for path in (PROJECT / "deploy").glob(files))
    (seconds,) = set(re.findall(rf"^\s*{name} (\d+)(?:s;|s$| always;)", text, re.MULTILINE))
    return float(seconds)


def signing_in(plain: dict[str, Any], caches: dict[str, Any]) -> dict[str, float]:
    return {
        "session: idle": plain["SESSION_COOKIE_AGE"],
        "session: absolute": plain["SESSION_ABSOLUTE_DAYS"] * UNITS["days"],
        "session: renewal": sessions.RENEW_SECONDS,
        "sign-in: time for the code": plain["ACCOUNT_LOGIN_TIMEOUT"],
        "sign-in: recent password": plain["ACCOUNT_REAUTHENTICATION_TIMEOUT"],
        "sign-in throttling: address and account": throttling.PAIR_LIMIT.refill_seconds,
        "sign-in throttling: account": throttling.ACCOUNT_LIMIT.refill_seconds,
        "sign-in throttling: address": throttling.ADDRESS_LIMIT.refill_seconds,
        "single sign-on throttling: address": throttling.SSO_LIMIT.refill_seconds,
        "passkey throttling: address": throttling.PASSKEY_LIMIT.refill_seconds,
        "share link: password entered": shared.UNLOCKED_SECONDS,
        "share link throttling: wrong passwords of an address": shared_files.ADDRESS_LIMIT.refill_seconds,
        "share link throttling: wrong passwords of a link": shared_files.LINK_LIMIT.refill_seconds,
        "public link throttling: unknown links of an address": guess_limit.REFILL_SECONDS,
        "public link throttling: unknown links in total": guess_limit.TOTAL_REFILL_SECONDS,
        "file request: guest session": file_requests.SESSION_DAYS * UNITS["days"],
        "file request throttling: new guests of a network": file_requests.NETWORK_LIMIT.refill_seconds,
        "file request throttling: new guests of a request": file_requests.REQUEST_LIMIT.refill_seconds,
        "invitation": plain["INVITATION_DAYS"] * UNITS["days"],
        "password reset: link": password_reset.HOURS * 3600,
        "password reset throttling: email address": throttling.RESET_LIMIT.refill_seconds,
        "password reset throttling: network": throttling.RESET_NETWORK_LIMIT.refill_seconds,
        "worker: abandoned handover of files": hand_over.HANDOVER_LOST_AFTER_SECONDS,
        "worker: abandoned change of a folder": task_queue.FOLDER_CHANGE_LOST_AFTER_SECONDS,
        "undo": undo.UNDO_SECONDS,
        "worker: abandoned password reset": password_reset.RESET_LOST_AFTER_SECONDS,
        "known device": plain["DEVICE_COOKIE_DAYS"] * UNITS["days"],
        "single sign-on: one request": plain["SOCIALACCOUNT_REQUESTS_TIMEOUT"],
        "Redis: one request": caches["default"]["OPTIONS"]["socket_timeout"],
    }


@pytest.fixture
def in_use(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the code and the settings of a process without any variables of its own say."""
    plain = read(monkeypatch)
    database = plain["DATABASES"]["default"]["OPTIONS"]
    limits = {
        name: float(number)
        for name, number in re.findall(r"-c (\w+_timeout)=(\d+)s", database["options"])
    }  # fmt: skip
    gunicorn = runpy.run_path(str(PROJECT / "amalga" / "gunicorn_conf.py"))
    every = re.search(r"sweep --every (\d+)", (PROJECT / "Procfile").read_text())
    assert every
    expiry = plain["UPLOAD_EXPIRY_HOURS"] * 3600
    return {
        "storage: connect": client.CONNECT_SECONDS,
        "storage: read": client.READ_SECONDS,
        "storage: attempts": client.ATTEMPTS,
        "storage: cached access check of the bucket": errors.READABLE_CACHE_SECONDS,
        "storage: pause between attempts": longest_pause(client.ATTEMPTS - 1),
        "storage, batch: read": client.BATCH_READ_SECONDS,
        "storage, batch: attempts": client.BATCH_ATTEMPTS,
        "storage, server-side copy: read": client.BULK_READ_SECONDS,
        "bucket listing: one request": listing.LISTED_SECONDS,
        "sweep: lease of a batch": leases.LEASE_SECONDS,
        "sweep: shortest backoff of a row": leases.MIN_BACKOFF_SECONDS,
        "sweep: longest backoff of a row": leases.MAX_BACKOFF_SECONDS,
        "sweep: lease of a preview without a file": sweep_expiry.PREVIEW_LEASE_SECONDS,
        "sweep: pause between checks for orphaned multipart uploads": orphaned_multiparts.PAUSE_SECONDS,
        "sweep: pause between checkpoints in the bucket": bucket_guard.PAUSE_SECONDS,
        "ZIP: permission check": zips.RECHECK_SECONDS,
        "ZIP or form: below 4 KiB/s": fair_use.LowestRate.WINDOW_SECONDS,
        "form: rate check": fair_use.SenderWatch.CHECK_SECONDS,
        "sweep: age of an orphaned multipart upload": orphaned_multiparts.GRACE.total_seconds(),
        "fsck: minimum age": fsck_run.GRACE_SECONDS,
        "fsck: reading a block of rows": fsck_rows.BLOCK_SECONDS,
        "fsck: lost heartbeat": fsck_run.LEASE_LOST_SECONDS,
        "move: lease of a row": rows.LEASE_SECONDS,
        "move: lease renewal": rows.RENEW_SECONDS,
        "doctor: clock skew warning": storage.WARN_SECONDS,
        "doctor: clock skew failure": storage.FAIL_SECONDS,
        "log: clock skew": client.MAX_CLOCK_SKEW_SECONDS,
        "migrations and recounts: a statement": amalga.db.DAY_SECONDS,
        "database: connect": database["connect_timeout"],
        "database: wait for a connection": database["pool"]["timeout"],
        "database: reconnect": database["pool"]["reconnect_timeout"],
        "database: connection check": amalga.db.CHECK_SECONDS,
        "database: lock": limits["lock_timeout"],
        "database: statement": limits["statement_timeout"],
        "database: all statements of one request": amalga.db.CALL_SECONDS,
        "database: any response": amalga.db.RESPONSE_SECONDS,
        "database: idle in a transaction": limits["idle_in_transaction_session_timeout"],
        "health check: connect": health.CONNECT_SECONDS,
        "health check: cached result": health.CACHE_SECONDS,
        "health check: cached storage state": health.STORAGE_SECONDS,
        "health check: first wait for storage": health.FIRST_WAIT_SECONDS,
        "database: keepalive of an idle connection": database["keepalives_idle"],
        "replica: any response": amalga.db.REPLICA_SECONDS,
        "replica: maximum lag of lists": replica.OLDEST_SECONDS,
        "replica: pause after a failure": replica.COOLDOWN_SECONDS,
        "replica: wait for a person's own changes": replica.WRITTEN_SECONDS,
        "replica without LSN: pause after a person's own change": replica.PIN_SECONDS,
        "Sentry: repeated outage": sentry.SAME_OUTAGE_SECONDS,
        "Sentry: flush at exit": sentry.FLUSH_SECONDS,
        "metrics: one query of the library": metrics.QUERY_SECONDS,
        "metrics: cached result": metrics.CACHE_SECONDS,
        "lists: counting": pagination.STATEMENT_TIMEOUT_SECONDS,
        "health check: slow client": probes.CLIENT_SECONDS,
        "nginx: request headers": of_proxy("nginx/http.conf", "client_header_timeout"),
        "nginx: pause in a request body": of_proxy("nginx/http.conf", "client_body_timeout"),
        "nginx: pause in a response": of_proxy("nginx/http.conf", "send_timeout"),
        "nginx: idle connection": of_proxy("nginx/http.conf", "keepalive_timeout"),
        "nginx: connect to gunicorn": of_proxy("nginx/server.conf", "proxy_connect_timeout"),
        "nginx: gunicorn reads nothing": of_proxy("nginx/server.conf", "proxy_send_timeout"),
        "nginx: gunicorn sends nothing": of_proxy("nginx/server.conf", "proxy_read_timeout"),
        "nginx: retry after": of_proxy("nginx/server.conf", "add_header Retry-After"),
        "Caddy: request headers": of_proxy("*/Caddyfile", "read_header"),
        "Caddy: idle connection": of_proxy("*/Caddyfile", "idle"),
        "Caddy: idle connection to nginx": of_proxy("*/Caddyfile", "keepalive"),
        "gunicorn: timeout": gunicorn["timeout"],
        "gunicorn: graceful timeout": gunicorn["graceful_timeout"],
        "gunicorn: keepalive": gunicorn["keepalive"],
        "finish: lease of a row": querysets.LEASE_SECONDS,
        "expired uploads: clock skew": MAX_CLOCK_SKEW_SECONDS,
        "sweep: trust in a storage that responded": circuit_breaker.RECENT_ANSWER_SECONDS,
        "preview: rendering": renderer.WAIT_SECONDS,
        "preview: rendering an Office document": renderer.OFFICE_WAIT_SECONDS,
        "preview: CPU time for an Office document": sandbox.OFFICE_CPU_SECONDS,
        "preview: rendering for an owner with a recent timeout": previews.SHORT_SECONDS,
        "preview: duration of the shorter limit": previews.HARD_WITHIN_SECONDS,
        "preview: CPU time": sandbox.MAX_CPU_SECONDS,
        "preview: lease": previews.LEASE_SECONDS,
        "worker: turn": tasks.TASK_SECONDS,
        "worker: abandoned task": tasks.PREVIEW_LOST_AFTER_SECONDS,
        "worker: shortest backoff": task_queue.MIN_BACKOFF_SECONDS,
        "worker: longest backoff": task_queue.MAX_BACKOFF_SECONDS,
        "mail: connect, and each response": plain["EMAIL_TIMEOUT"],
        "mail: response to a complete mail": smtp.END_OF_DATA_SECONDS,
        "mail: abandoned task": outgoing.MAIL_LOST_AFTER_SECONDS,
        "sweep: interval": int(every[1]),
        "doctor: one storage check": limits_of_doctor.CHECK_SECONDS,
        "doctor: all database checks": doctor.DATABASE_SECONDS,
        "doctor: certificate check": database_connection.HANDSHAKE_SECONDS,
        "doctor: query for storages in use": doctor_database.STORES_SECONDS,
        "doctor: all storage checks": doctor.STORE_SECONDS,
        "doctor: all external checks": doctor.EXTERNAL_SECONDS,
        "malware check: connect to clamd": scanners.CONNECT_SECONDS,
        "malware check: clamd takes a chunk": scanners.SEND_SECONDS,
        "malware check: clamd replies": scanners.REPLY_SECONDS,
        "malware check: lost task": malware_tasks.LOST_AFTER_SECONDS,
        "URL: upload of a part": signing.URL_SECONDS,
        "URL: download": downloads.DOWNLOAD_SECONDS,
        "URL: preview": 2 * downloads.WINDOW_SECONDS,
        "token: database sign-in": amalga.db.iam.TOKEN_SECONDS,
        "URL: own requests": max(objects.HEAD_SECONDS, streams.SIGNED_SECONDS),
        "upload: expiry": expiry,
        "upload: expiry by the storage": expiry + provision.RESUMED_DAYS * UNITS["days"],
        "trash: retention period": plain["TRASH_RETENTION_DAYS"] * UNITS["days"],
        **signing_in(plain, read(monkeypatch, CACHE_URL="redis://localhost")["CACHES"]),
        "deleted objects: retention period": bucket_policies.KEEP_DAYS * UNITS["days"],
        "browser: request to the application": of_script("api.js", "TIMEOUT_MS"),
        "browser: stalled upload": of_script("upload-part.js", "STALL_TIMEOUT_MS"),
        "browser: response to a part": of_script("upload-part.js", "RESPONSE_TIMEOUT_MS"),
        "browser: age of an upload URL": of_script("upload-part.js", "MAX_URL_AGE_MS"),
        "browser: shortest backoff": of_script("retry.js", "BASE_DELAY_MS"),
        "browser: longest backoff": of_script("retry.js", "MAX_DELAY_MS"),
        "browser: longest Retry-After": of_script("retry.js", "MAX_RETRY_AFTER_MS"),
    }


def test_doctor_ends_within_a_minute(in_use: dict[str, float]) -> None:
    assert quick_call(in_use) < in_use["doctor: one storage check"]
    database_seconds = (
        in_use["doctor: all database checks"] + in_use["database: connect"] + in_use["database: any response"]
    )
    others = ("doctor: all storage checks", "doctor: all external checks")
    assert database_seconds + sum(in_use[name] for name in others) <= 60


def longest_pause(retry: int) -> float:
    """What botocore waits at most before this retry (from 1 on) of a call that was throttled."""
    throttled: Any = type("Throttled", (), {"is_throttling_error_from_context": lambda self, context: True})()
    context: Any = type("Context", (), {"attempt_number": retry, "http_response": None})()
    backoff = ExponentialBackoff(random=lambda: 1.0, service_name="s3", throttling_detector=throttled)
    return float(backoff.delay_amount(context))


def test_documented_timeouts_are_those_in_use(in_use: dict[str, float]) -> None:
    assert {what: value for what, value in DOCUMENTED.items() if what not in YOURS} == in_use


def test_the_page_names_places_that_exist() -> None:
    for what, _number, _unit, where in ROW.findall((PROJECT / "docs" / "operate" / "timeouts.md").read_text()):
        file, *names = re.findall(r"`([^`]+)`", where) or [""]
        place = PROJECT / (file if not file.startswith("js/") else f"uploads/static/uploads/{file}")
        elsewhere = file.isupper() or "provision" in where or "botocore" in where
        assert what in YOURS or place.is_file() or elsewhere, where
        if place.is_file() and names and names[0].isidentifier():
            assert names[0] in place.read_text(), where


# Naps in a loop of our own, and ends that somebody chooses: nobody waits for another by these.
NAPS = {"PAUSE_SECONDS", "WAIT_SECONDS", "HEARTBEAT_SECONDS", "TICK_SECONDS", "SLICE_SECONDS", "SAVE_SECONDS",
        "UNAVAILABLE_PAUSE_SECONDS", "RETRY_SECONDS", "MAX_SECONDS", "MAX_PAUSE_SECONDS", "MAX_GRACE_SECONDS",
        "FORGOTTEN_WITHIN_SECONDS", "HEAD_SECONDS", "CHECK_SECONDS", "CORS_SECONDS", "SECONDS_IN_A_PIPE",
        "SECONDS_ON_A_TERMINAL", "SAMPLE_SECONDS", "SECURE_HSTS_SECONDS", "URL_VALID_MILLISECONDS",
        "MAX_AGE_SECONDS", "COOKIE_SECONDS"}  # fmt: skip


def test_no_time_limit_is_missing_from_the_page() -> None:
    page = (PROJECT / "docs" / "operate" / "timeouts.md").read_text()
    ours = (PROJECT / "uploads").rglob("*.py"), (PROJECT / "amalga").glob("*.py"), (PROJECT / "amalga/db").glob("*.py")
    sources = [path for folder in ours for path in folder]
    missing = {
        f"{path.relative_to(PROJECT)}: {name}"
        for path in sources
        for name in re.findall(r"^(\w*SECONDS\w*)\b[^=\n]*= ", path.read_text(), re.MULTILINE)
        if f"`{name}`" not in page and name not in NAPS
    }
    assert missing == set()


def quick_call(of: dict[str, float]) -> float:
    """One call of the store at its worst."""
    each = of["storage: connect"] + of["storage: read"]
    return each * of["storage: attempts"] + of["storage: pause between attempts"] * (of["storage: attempts"] - 1)


def patient_call(of: dict[str, float]) -> float:
    attempts = int(of["storage, batch: attempts"])
    pauses = sum(longest_pause(retry) for retry in range(1, attempts))
    return (of["storage: connect"] + of["storage, batch: read"]) * attempts + pauses


def assembly(of: dict[str, float]) -> float:
    """ListParts (a thousand a page), Complete, GET, HEAD; the first that fails ends it, so these are slow, not dead."""
    return 4 * quick_call(of)


# What has to be smaller, and than what.
Sum = Callable[[dict[str, float]], float]
ORDER: dict[str, tuple[str | Sum, str | Sum]] = {
    "a store that is away is told of in time": (quick_call, "response to a person"),
    "so is a database that is away": (
        lambda of: of["database: wait for a connection"] + of["database: reconnect"], "response to a person"),
    "the pool waits no longer than its connections": ("database: wait for a connection", "database: connect"),
    "whoever waits for a lock is told which": ("database: lock", "database: statement"),
    "the server ends a statement before we give it up": ("database: statement", "database: any response"),
    "we give it up before a person does": ("database: any response", "response to a person"),
    "a probe ends before the balancer gives it up": (
        lambda of: of["health check: connect"] + of["database: connection check"], "load balancer: health check"),
    "so does one that waits for the store": ("health check: first wait for storage", "load balancer: health check"),
    "a replica that is silent leaves time for the primary": (
        lambda of: of["database: connection check"] + of["replica: any response"] + of["lists: counting"],
        "response to a person"),
    "a list gives up before its replica is given up": ("lists: counting", "replica: any response"),
    "one's own writes outlast what every process knows": (
        "replica: maximum lag of lists", "replica: wait for a person's own changes"),
    "a worker ends before it is ended, its last report sent": (
        lambda of: of["worker: turn"] + of["preview: rendering"] + of["Sentry: flush at exit"],
        "platform: kill of the worker"),
    "counting leaves time for the page": ("lists: counting", "database: statement"),
    "nobody idle holds locks for longer than a worker lives": ("database: idle in a transaction", "gunicorn: timeout"),
    "no statement outlives the web server's patience": ("database: statement", "gunicorn: timeout"),
    "no answer does": ("response to a person", "gunicorn: graceful timeout"),
    "who is told to stop may end": ("gunicorn: graceful timeout", "gunicorn: timeout"),
    "the balancer waits for that": ("gunicorn: graceful timeout", "load balancer: deregistration delay"),
    "so does the platform": ("gunicorn: graceful timeout", "platform: kill of the web process"),
    "the balancer never sends into a closed connection": ("load balancer: idle", "gunicorn: keepalive"),
    "nginx keeps a connection longer than a balancer": ("load balancer: idle", "nginx: idle connection"),
    "nginx keeps a connection longer than Caddy": ("Caddy: idle connection to nginx", "nginx: idle connection"),
    "nginx waits for an answer": ("response to a person", "nginx: gunicorn sends nothing"),
    "nginx waits for a form as long as the store may take": (patient_call, "nginx: gunicorn reads nothing"),
    "who stalls gives its thread back before the process ends": (
        "nginx: pause in a request body", "gunicorn: graceful timeout"),
    "so does who reads slowly": ("nginx: pause in a response", "gunicorn: graceful timeout"),
    "the balancer waits for an answer": ("response to a person", "load balancer: idle"),
    "a worker may end its turn and its picture": (
        lambda of: of["worker: turn"] + of["preview: rendering"], "platform: kill of the worker"),
    "single sign-on that is away is told of in time": (
        lambda of: 2 * of["single sign-on: one request"], "response to a person"),
    "a session in use is written before it ends": (
        "session: renewal", "session: idle"),
    "nobody waits for an account as long as for an address": (
        "sign-in throttling: account", "sign-in throttling: address and account"),
    "an assembly ends before another one begins": (assembly, "finish: lease of a row"),
    "drawing ends by itself before it is ended": ("preview: CPU time", "preview: rendering"),
    "a preview is made before another one makes it": (
        lambda of: of["preview: rendering"] + 2 * patient_call(of), "preview: lease"),
    "a worker may end its mail": ("mail: response to a complete mail", "platform: kill of the worker"),
    "a task outlives its mail": (
        lambda of: 10 * of["mail: connect, and each response"] + of["mail: response to a complete mail"],
        "mail: abandoned task"),
    "a task outlives its previews": ("preview: lease", "worker: abandoned task"),
    "a sweep's batch is not given to another while it is worked at": (assembly, "sweep: lease of a batch"),
    "pauses grow": ("sweep: shortest backoff of a row", "sweep: longest backoff of a row"),
    "a move's lease is renewed more than twice before it ends": (
        lambda of: 2 * of["move: lease renewal"], "move: lease of a row"),
    "fsck compares nothing that is under way": (
        lambda of: of["URL: upload of a part"] + of["finish: lease of a row"], "fsck: minimum age"),
    "an upload is not forgotten while its row is written": (
        "response to a person", "sweep: age of an orphaned multipart upload"),
    "a row that failed comes free before the store ends its upload": (
        "sweep: longest backoff of a row", "upload: expiry by the storage"),
    "who warns warns first": ("doctor: clock skew warning", "doctor: clock skew failure"),
    "a URL outlives no clock that is told to be wrong": ("doctor: clock skew failure", "URL: upload of a part"),
    "a page of a listing comes before its question dies": (
        lambda of: of["storage: connect"] + of["storage, batch: read"], "bucket listing: one request"),
    "a URL is renewed before it dies": ("browser: age of an upload URL", "URL: upload of a part"),
    "there is time to send a part after it is signed": (
        lambda of: of["browser: stalled upload"] + of["browser: response to a part"], "URL: upload of a part"),
    "a URL dies before its upload": ("URL: upload of a part", "upload: expiry"),
    "a download's URL is shorter than a part's": ("URL: download", "URL: upload of a part"),
    "the sweep comes before the store ends an upload": (
        lambda of: of["upload: expiry"] + of["sweep: interval"], "upload: expiry by the storage"),
    "what is purged can be brought back with an old database": (
        "trash: retention period", "deleted objects: retention period"),
    "the page waits for the app": ("response to a person", "browser: request to the application"),
    "the page waits for the store": ("browser: stalled upload", "browser: response to a part"),
    "waits grow": ("browser: shortest backoff", "browser: longest backoff"),
    "a server may ask for more": ("browser: longest backoff", "browser: longest Retry-After"),
}  # fmt: skip


@pytest.mark.parametrize("rule", ORDER)
def test_who_waits_for_another_waits_longer(rule: str) -> None:
    smaller, larger = (DOCUMENTED[side] if isinstance(side, str) else side(DOCUMENTED) for side in ORDER[rule])
    assert smaller < larger


@pytest.mark.parametrize("left", [5, 200, 100_000])
def test_no_url_outlives_the_credentials_that_sign_it(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "seconds_of_credentials", lambda *_, limit: min(left, limit))
    store = main_store()
    assert signing.expires_in(signing.URL_SECONDS, store) == min(left, DOCUMENTED["URL: upload of a part"])
    assert signing.expires_in(downloads.DOWNLOAD_SECONDS, store) == min(left, DOCUMENTED["URL: download"])
    assert signing.expires_in(2 * downloads.WINDOW_SECONDS, store) == min(left, DOCUMENTED["URL: preview"])


def test_the_clients_are_made_with_these_limits() -> None:
    kinds: dict[client.Kind, tuple[str, str]] = {
        "quick": ("storage: read", "storage: attempts"),
        "batch": ("storage, batch: read", "storage, batch: attempts"),
    }
    for kind, (read_seconds, attempts) in kinds.items():
        config: Any = client.client(kind).meta.config  # its types know nothing of it
        assert (config.connect_timeout, config.read_timeout) == (
            DOCUMENTED["storage: connect"],
            DOCUMENTED[read_seconds],
        )
        assert config.retries["total_max_attempts"] == DOCUMENTED[attempts]
    pool = client.http().connection_pool_kw
    assert (pool["timeout"].connect_timeout, pool["timeout"].read_timeout) == (1, 3)
    assert pool["retries"].total == DOCUMENTED["storage: attempts"] - 1


@pytest.mark.django_db
def test_database_connections_have_these_timeouts() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for name, what in (("statement_timeout", "database: statement"), ("lock_timeout", "database: lock"),
                           ("idle_in_transaction_session_timeout", "database: idle in a transaction")):  # fmt: skip
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == (f"{DOCUMENTED[what]:.0f}s",)
    assert settings.DATABASES["default"]["OPTIONS"]["connect_timeout"] == DOCUMENTED["database: connect"]


def test_a_row_outlives_the_urls_that_lead_to_its_key() -> None:
    """The store's clock may be behind ours by so much, and it would still refuse the URL."""
    assert DOCUMENTED["expired uploads: clock skew"] > 0
    assert DOCUMENTED["URL: upload of a part"] == s3.URL_SECONDS
    assert "signed_until__lt" in str(urls_expired())
