"""docs/operate/timeouts.md tells every time limit: the numbers are the ones in use, and stand in the right order."""

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
from uploads.accounts import sessions, throttling
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
    health,
    metrics,
    orphaned_multiparts,
    previews,
    provision,
    tasks,
    zips,
)
from uploads.services.doctor import database as doctor_database
from uploads.services.doctor import database_connection, storage
from uploads.services.doctor import results as limits_of_doctor
from uploads.services.erase import MAX_CLOCK_SKEW_SECONDS, urls_expired
from uploads.services.fsck import run as fsck_run
from uploads.services.fsck import streams as fsck_rows
from uploads.services.move_store import rows
from uploads.services.sweep import expiry as sweep_expiry
from uploads.services.sweep import leases

UNITS = {"s": 1, "times": 1, "days": 24 * 3600}
ROW = re.compile(r"^\| ([^|]+) \| ([\d.]+) (s|times|days) \| ([^|]*) \|", re.MULTILINE)
YOURS = {
    "answer to a person", "balancer: idle", "balancer: deregistration delay", "platform: kill of the web process",
    "platform: kill of the worker", "balancer: waits for a probe",
}  # fmt: skip

TOLD = {what: float(number) * UNITS[unit] for what, number, unit, _where in ROW.findall(
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
        "session: nobody uses it": plain["SESSION_COOKIE_AGE"],
        "session: in any case": plain["SESSION_ABSOLUTE_DAYS"] * UNITS["days"],
        "session in use: is written anew every": sessions.RENEW_SECONDS,
        "signing in: between password and code": plain["ACCOUNT_LOGIN_TIMEOUT"],
        "signing in: a password counts as just typed": plain["ACCOUNT_REAUTHENTICATION_TIMEOUT"],
        "sign-in attempts past the limit: one address and account": throttling.PAIR_LIMIT.refill_seconds,
        "sign-in attempts past the limit: one account": throttling.ACCOUNT_LIMIT.refill_seconds,
        "sign-in attempts past the limit: one address": throttling.ADDRESS_LIMIT.refill_seconds,
        "single sign-ons past the limit: one address": throttling.SSO_LIMIT.refill_seconds,
        "a browser is known for": plain["DEVICE_COOKIE_DAYS"] * UNITS["days"],
        "single sign-on: one question": plain["SOCIALACCOUNT_REQUESTS_TIMEOUT"],
        "Redis: one question": caches["default"]["OPTIONS"]["socket_timeout"],
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
        "store: connect": client.CONNECT_SECONDS,
        "store: read": client.READ_SECONDS,
        "store: attempts": client.ATTEMPTS,
        "store: whether the bucket can be read": errors.READABLE_CACHE_SECONDS,
        "store: pause between attempts": longest_pause(client.ATTEMPTS - 1),
        "store, patiently: read": client.BATCH_READ_SECONDS,
        "store, patiently: attempts": client.BATCH_ATTEMPTS,
        "store, copying by itself: read": client.BULK_READ_SECONDS,
        "listing a bucket: one question": listing.LISTED_SECONDS,
        "sweep: lease of a batch": leases.LEASE_SECONDS,
        "sweep: first pause for a row that fails": leases.MIN_BACKOFF_SECONDS,
        "sweep: longest pause for a row that fails": leases.MAX_BACKOFF_SECONDS,
        "sweep: lease of a preview without a file": sweep_expiry.PREVIEW_LEASE_SECONDS,
        "sweep: looks for forgotten uploads in parts every": orphaned_multiparts.PAUSE_SECONDS,
        "sweep: the bucket is told of new events every": bucket_guard.PAUSE_SECONDS,
        "zip: the right to its files is asked again every": zips.RECHECK_SECONDS,
        "zip or form: a client that takes or sends less than 4 KiB/s for": fair_use.LowestRate.WINDOW_SECONDS,
        "form: the rate is looked at every": fair_use.SenderWatch.CHECK_SECONDS,
        "sweep: such an upload is forgotten after": orphaned_multiparts.GRACE.total_seconds(),
        "fsck: too young to compare": fsck_run.GRACE_SECONDS,
        "fsck: reading a block of rows": fsck_rows.BLOCK_SECONDS,
        "fsck: a run that shows no life": fsck_run.LEASE_LOST_SECONDS,
        "move: lease of a row": rows.LEASE_SECONDS,
        "move: lease is renewed every": rows.RENEW_SECONDS,
        "doctor: clocks are told to differ": storage.WARN_SECONDS,
        "doctor: clocks are wrong": storage.FAIL_SECONDS,
        "log: clocks are wrong": client.MAX_CLOCK_SKEW_SECONDS,
        "migrations and recounts: a statement": amalga.db.DAY_SECONDS,
        "database: connect": database["connect_timeout"],
        "database: wait for a connection": database["pool"]["timeout"],
        "database: go on connecting": database["pool"]["reconnect_timeout"],
        "database: is this connection alive": amalga.db.CHECK_SECONDS,
        "database: lock": limits["lock_timeout"],
        "database: statement": limits["statement_timeout"],
        "database: all statements of one act": amalga.db.CALL_SECONDS,
        "database: any answer": amalga.db.RESPONSE_SECONDS,
        "database: idle in a transaction": limits["idle_in_transaction_session_timeout"],
        "probe: connect": health.CONNECT_SECONDS,
        "probe: the same answer for": health.CACHE_SECONDS,
        "probe: what is known of the store is asked again after": health.STORAGE_SECONDS,
        "probe: waits for the store at most": health.FIRST_WAIT_SECONDS,
        "database: a silent connection is asked": database["keepalives_idle"],
        "replica: any answer": amalga.db.REPLICA_SECONDS,
        "replica: how old lists may be": replica.OLDEST_SECONDS,
        "replica: not asked again after it failed": replica.COOLDOWN_SECONDS,
        "replica: one's own writes are waited for": replica.WRITTEN_SECONDS,
        "replica without numbers: left alone after one's own write": replica.PIN_SECONDS,
        "Sentry: the same outage is told again after": sentry.SAME_OUTAGE_SECONDS,
        "Sentry: what is left is sent at the end": sentry.FLUSH_SECONDS,
        "metrics: one look at the library": metrics.QUERY_SECONDS,
        "metrics: the same answer for": metrics.CACHE_SECONDS,
        "lists: counting": pagination.STATEMENT_TIMEOUT_SECONDS,
        "probe: a client sends and reads": probes.CLIENT_SECONDS,
        "nginx: the headers of a request": of_proxy("nginx/http.conf", "client_header_timeout"),
        "nginx: between two bytes of a body": of_proxy("nginx/http.conf", "client_body_timeout"),
        "nginx: between two writes of an answer": of_proxy("nginx/http.conf", "send_timeout"),
        "nginx: an idle connection": of_proxy("nginx/http.conf", "keepalive_timeout"),
        "nginx: connects to gunicorn": of_proxy("nginx/server.conf", "proxy_connect_timeout"),
        "nginx: gunicorn takes no byte": of_proxy("nginx/server.conf", "proxy_send_timeout"),
        "nginx: gunicorn sends no byte": of_proxy("nginx/server.conf", "proxy_read_timeout"),
        "nginx: retry after": of_proxy("nginx/server.conf", "add_header Retry-After"),
        "Caddy: the headers of a request": of_proxy("*/Caddyfile", "read_header"),
        "Caddy: an idle connection": of_proxy("*/Caddyfile", "idle"),
        "Caddy: an idle connection to nginx": of_proxy("*/Caddyfile", "keepalive"),
        "gunicorn: timeout": gunicorn["timeout"],
        "gunicorn: graceful timeout": gunicorn["graceful_timeout"],
        "gunicorn: keepalive": gunicorn["keepalive"],
        "finish: lease of a row": querysets.LEASE_SECONDS,
        "expired: clocks apart": MAX_CLOCK_SKEW_SECONDS,
        "sweep: a store that answered is not doubted": circuit_breaker.RECENT_ANSWER_SECONDS,
        "preview: drawing": renderer.WAIT_SECONDS,
        "preview: drawing, for an owner of one that was too hard": previews.SHORT_SECONDS,
        "preview: that owner's time is short for": previews.HARD_WITHIN_SECONDS,
        "preview: processor": sandbox.MAX_CPU_SECONDS,
        "preview: lease": previews.LEASE_SECONDS,
        "worker: turn": tasks.TASK_SECONDS,
        "worker: a task that nobody works at": tasks.PREVIEW_LOST_AFTER_SECONDS,
        "worker: first pause for a store that is away": tasks.MIN_BACKOFF_SECONDS,
        "worker: longest pause": tasks.MAX_BACKOFF_SECONDS,
        "sweep: every": int(every[1]),
        "doctor: one look at the store": limits_of_doctor.CHECK_SECONDS,
        "doctor: the database": doctor.DATABASE_SECONDS,
        "doctor: a certificate that proves nothing": database_connection.HANDSHAKE_SECONDS,
        "doctor: stores that rows name": doctor_database.STORES_SECONDS,
        "doctor: the store": doctor.STORE_SECONDS,
        "URL: to send a part": signing.URL_SECONDS,
        "URL: to download": downloads.DOWNLOAD_SECONDS,
        "URL: of a preview": 2 * downloads.WINDOW_SECONDS,
        "token: to sign in to the database": amalga.db.iam.TOKEN_SECONDS,
        "URL: for ourselves": max(objects.HEAD_SECONDS, streams.SIGNED_SECONDS),
        "upload: until it expires": expiry,
        "upload: ended by the store itself": expiry + provision.RESUMED_DAYS * UNITS["days"],
        "trash": plain["TRASH_RETENTION_DAYS"] * UNITS["days"],
        **signing_in(plain, read(monkeypatch, CACHE_URL="redis://localhost")["CACHES"]),
        "removed objects: can be brought back": bucket_policies.KEEP_DAYS * UNITS["days"],
        "browser: a call to the app": of_script("api.js", "TIMEOUT_MS"),
        "browser: no byte moves": of_script("upload-part.js", "STALL_TIMEOUT_MS"),
        "browser: the store's answer to a part": of_script("upload-part.js", "RESPONSE_TIMEOUT_MS"),
        "browser: a URL counts as old": of_script("upload-part.js", "MAX_URL_AGE_MS"),
        "browser: first wait": of_script("retry.js", "BASE_DELAY_MS"),
        "browser: longest wait": of_script("retry.js", "MAX_DELAY_MS"),
        "browser: longest wait that a server may ask for": of_script("retry.js", "MAX_RETRY_AFTER_MS"),
    }


def test_doctor_ends_within_a_minute(in_use: dict[str, float]) -> None:
    assert quick_call(in_use) < in_use["doctor: one look at the store"]
    database_seconds = in_use["doctor: the database"] + in_use["database: connect"] + in_use["database: any answer"]
    assert database_seconds + in_use["doctor: the store"] <= 60


def longest_pause(retry: int) -> float:
    """What botocore waits at most before this retry (from 1 on) of a call that was throttled."""
    throttled: Any = type("Throttled", (), {"is_throttling_error_from_context": lambda self, context: True})()
    context: Any = type("Context", (), {"attempt_number": retry, "http_response": None})()
    backoff = ExponentialBackoff(random=lambda: 1.0, service_name="s3", throttling_detector=throttled)
    return float(backoff.delay_amount(context))


def test_the_page_tells_what_is_in_use(in_use: dict[str, float]) -> None:
    assert {what: value for what, value in TOLD.items() if what not in YOURS} == in_use


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
        "SECONDS_ON_A_TERMINAL", "SAMPLE_SECONDS", "SECURE_HSTS_SECONDS", "URL_VALID_MILLISECONDS"}  # fmt: skip


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
    each = of["store: connect"] + of["store: read"]
    return each * of["store: attempts"] + of["store: pause between attempts"] * (of["store: attempts"] - 1)


def patient_call(of: dict[str, float]) -> float:
    attempts = int(of["store, patiently: attempts"])
    pauses = sum(longest_pause(retry) for retry in range(1, attempts))
    return (of["store: connect"] + of["store, patiently: read"]) * attempts + pauses


def assembly(of: dict[str, float]) -> float:
    """ListParts (a thousand a page), Complete, GET, HEAD; the first that fails ends it, so these are slow, not dead."""
    return 4 * quick_call(of)


# What has to be smaller, and than what.
Sum = Callable[[dict[str, float]], float]
ORDER: dict[str, tuple[str | Sum, str | Sum]] = {
    "a store that is away is told of in time": (quick_call, "answer to a person"),
    "so is a database that is away": (
        lambda of: of["database: wait for a connection"] + of["database: go on connecting"], "answer to a person"),
    "the pool waits no longer than its connections": ("database: wait for a connection", "database: connect"),
    "whoever waits for a lock is told which": ("database: lock", "database: statement"),
    "the server ends a statement before we give it up": ("database: statement", "database: any answer"),
    "we give it up before a person does": ("database: any answer", "answer to a person"),
    "a probe ends before the balancer gives it up": (
        lambda of: of["probe: connect"] + of["database: is this connection alive"], "balancer: waits for a probe"),
    "so does one that waits for the store": ("probe: waits for the store at most", "balancer: waits for a probe"),
    "a replica that is silent leaves time for the primary": (
        lambda of: of["database: is this connection alive"] + of["replica: any answer"] + of["lists: counting"],
        "answer to a person"),
    "a list gives up before its replica is given up": ("lists: counting", "replica: any answer"),
    "one's own writes outlast what every process knows": (
        "replica: how old lists may be", "replica: one's own writes are waited for"),
    "a worker ends before it is ended, its last report sent": (
        lambda of: of["worker: turn"] + of["preview: drawing"] + of["Sentry: what is left is sent at the end"],
        "platform: kill of the worker"),
    "counting leaves time for the page": ("lists: counting", "database: statement"),
    "nobody idle holds locks for longer than a worker lives": ("database: idle in a transaction", "gunicorn: timeout"),
    "no statement outlives the web server's patience": ("database: statement", "gunicorn: timeout"),
    "no answer does": ("answer to a person", "gunicorn: graceful timeout"),
    "who is told to stop may end": ("gunicorn: graceful timeout", "gunicorn: timeout"),
    "the balancer waits for that": ("gunicorn: graceful timeout", "balancer: deregistration delay"),
    "so does the platform": ("gunicorn: graceful timeout", "platform: kill of the web process"),
    "the balancer never sends into a closed connection": ("balancer: idle", "gunicorn: keepalive"),
    "nginx keeps a connection longer than a balancer": ("balancer: idle", "nginx: an idle connection"),
    "nginx keeps a connection longer than Caddy": ("Caddy: an idle connection to nginx", "nginx: an idle connection"),
    "nginx waits for an answer": ("answer to a person", "nginx: gunicorn sends no byte"),
    "nginx waits for a form as long as the store may take": (patient_call, "nginx: gunicorn takes no byte"),
    "who stalls gives its thread back before the process ends": (
        "nginx: between two bytes of a body", "gunicorn: graceful timeout"),
    "so does who reads slowly": ("nginx: between two writes of an answer", "gunicorn: graceful timeout"),
    "the balancer waits for an answer": ("answer to a person", "balancer: idle"),
    "a worker may end its turn and its picture": (
        lambda of: of["worker: turn"] + of["preview: drawing"], "platform: kill of the worker"),
    "single sign-on that is away is told of in time": (
        lambda of: 2 * of["single sign-on: one question"], "answer to a person"),
    "a session in use is written before it ends": (
        "session in use: is written anew every", "session: nobody uses it"),
    "nobody waits for an account as long as for an address": (
        "sign-in attempts past the limit: one account", "sign-in attempts past the limit: one address and account"),
    "an assembly ends before another one begins": (assembly, "finish: lease of a row"),
    "drawing ends by itself before it is ended": ("preview: processor", "preview: drawing"),
    "a preview is made before another one makes it": (
        lambda of: of["preview: drawing"] + 2 * patient_call(of), "preview: lease"),
    "a task outlives its previews": ("preview: lease", "worker: a task that nobody works at"),
    "a sweep's batch is not given to another while it is worked at": (assembly, "sweep: lease of a batch"),
    "pauses grow": ("sweep: first pause for a row that fails", "sweep: longest pause for a row that fails"),
    "a move's lease is renewed more than twice before it ends": (
        lambda of: 2 * of["move: lease is renewed every"], "move: lease of a row"),
    "fsck compares nothing that is under way": (
        lambda of: of["URL: to send a part"] + of["finish: lease of a row"], "fsck: too young to compare"),
    "an upload is not forgotten while its row is written": (
        "answer to a person", "sweep: such an upload is forgotten after"),
    "a row that failed comes free before the store ends its upload": (
        "sweep: longest pause for a row that fails", "upload: ended by the store itself"),
    "who warns warns first": ("doctor: clocks are told to differ", "doctor: clocks are wrong"),
    "a URL outlives no clock that is told to be wrong": ("doctor: clocks are wrong", "URL: to send a part"),
    "a page of a listing comes before its question dies": (
        lambda of: of["store: connect"] + of["store, patiently: read"], "listing a bucket: one question"),
    "a URL is renewed before it dies": ("browser: a URL counts as old", "URL: to send a part"),
    "there is time to send a part after it is signed": (
        lambda of: of["browser: no byte moves"] + of["browser: the store's answer to a part"], "URL: to send a part"),
    "a URL dies before its upload": ("URL: to send a part", "upload: until it expires"),
    "a download's URL is shorter than a part's": ("URL: to download", "URL: to send a part"),
    "the sweep comes before the store ends an upload": (
        lambda of: of["upload: until it expires"] + of["sweep: every"], "upload: ended by the store itself"),
    "what is purged can be brought back with an old database": ("trash", "removed objects: can be brought back"),
    "the page waits for the app": ("answer to a person", "browser: a call to the app"),
    "the page waits for the store": ("browser: no byte moves", "browser: the store's answer to a part"),
    "waits grow": ("browser: first wait", "browser: longest wait"),
    "a server may ask for more": ("browser: longest wait", "browser: longest wait that a server may ask for"),
}  # fmt: skip


@pytest.mark.parametrize("rule", ORDER)
def test_who_waits_for_another_waits_longer(rule: str) -> None:
    smaller, larger = (TOLD[side] if isinstance(side, str) else side(TOLD) for side in ORDER[rule])
    assert smaller < larger


@pytest.mark.parametrize("left", [5, 200, 100_000])
def test_no_url_outlives_the_credentials_that_sign_it(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "seconds_of_credentials", lambda *_, limit: min(left, limit))
    store = main_store()
    assert signing.expires_in(signing.URL_SECONDS, store) == min(left, TOLD["URL: to send a part"])
    assert signing.expires_in(downloads.DOWNLOAD_SECONDS, store) == min(left, TOLD["URL: to download"])
    assert signing.expires_in(2 * downloads.WINDOW_SECONDS, store) == min(left, TOLD["URL: of a preview"])


def test_the_clients_are_made_with_these_limits() -> None:
    kinds: dict[client.Kind, tuple[str, str]] = {
        "quick": ("store: read", "store: attempts"),
        "batch": ("store, patiently: read", "store, patiently: attempts"),
    }
    for kind, (read_seconds, attempts) in kinds.items():
        made: Any = client.client(kind).meta.config  # its types know nothing of it
        assert (made.connect_timeout, made.read_timeout) == (TOLD["store: connect"], TOLD[read_seconds])
        assert made.retries["total_max_attempts"] == TOLD[attempts]
    pool = client.http().connection_pool_kw
    assert (pool["timeout"].connect_timeout, pool["timeout"].read_timeout) == (1, 3)
    assert pool["retries"].total == TOLD["store: attempts"] - 1


@pytest.mark.django_db
def test_the_database_is_asked_with_these_limits() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for name, what in (("statement_timeout", "database: statement"), ("lock_timeout", "database: lock"),
                           ("idle_in_transaction_session_timeout", "database: idle in a transaction")):  # fmt: skip
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == (f"{TOLD[what]:.0f}s",)
    assert settings.DATABASES["default"]["OPTIONS"]["connect_timeout"] == TOLD["database: connect"]


def test_a_row_outlives_the_urls_that_lead_to_its_key() -> None:
    """The store's clock may be behind ours by so much, and it would still refuse the URL."""
    assert TOLD["expired: clocks apart"] > 0
    assert TOLD["URL: to send a part"] == s3.URL_SECONDS
    assert "signed_until__lt" in str(urls_expired())
