"""docs/operate/timeouts.md lists every timeout with the value in use, and the values are in the right order."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff
from django.conf import settings

import amalga.db
from amalga import gunicorn_worker, probe_server, sentry
from amalga.db import replica
from tests.amalga.test_settings import read
from tests.conftest import PROJECT
from uploads import s3
from uploads.accounts import password_reset, sessions, throttling
from uploads.actions import undo
from uploads.admin import base as admin_base
from uploads.listing import pagination
from uploads.models import content, querysets
from uploads.previews import renderer, sandbox
from uploads.s3 import bucket_policies, client, errors, objects, signing
from uploads.s3.client import main_store
from uploads.services import (
    bucket_guard,
    circuit_breaker,
    doctor,
    file_requests,
    fsck,
    guess_limit,
    hand_over,
    health,
    mail,
    malware_scanners,
    metrics,
    orphaned_multiparts,
    previews,
    provision,
    share_links,
    slow_clients,
    sweep,
    task_queue,
    tasks,
    zips,
)
from uploads.services import malware as malware_tasks
from uploads.services.doctor import database as doctor_database
from uploads.services.doctor import results as limits_of_doctor
from uploads.services.doctor import storage
from uploads.services.erase import CLOCK_SKEW_MARGIN_SECONDS, urls_expired
from uploads.services.fsck import lines as fsck_rows
from uploads.services.move_store import rows
from uploads.views import shared, web_app

UNITS = {"s": 1, "times": 1, "day": 24 * 3600, "days": 24 * 3600}
ROW = re.compile(r"^\| ([^|]+) \| ([\d.]+) (s|times|days?) \| ([^|]*) \|", re.MULTILINE)
YOURS = {
    "response to a person", "load balancer: idle", "load balancer: deregistration delay", "load balancer: health check",
    "platform: kill of the web process", "platform: kill of the worker",
}  # fmt: skip

DOCUMENTED = {what: float(number) * UNITS[unit] for what, number, unit, _where in ROW.findall(
    (PROJECT / "docs" / "operate" / "timeouts.md").read_text())}  # fmt: skip


def of_script(file: str, name: str) -> float:
    """Return a constant in milliseconds from one of our scripts, in seconds."""
    text = (PROJECT / "uploads" / "static" / "uploads" / "js" / file).read_text()
    match = re.search(rf"^const {name} = ([\d_ *]+);", text, re.MULTILINE)
    assert match
    product = 1
    for factor in match[1].split("*"):
        product *= int(factor.strip().replace("_", ""))
    return product / 1000


def of_proxy(files: str, name: str) -> float:
    """Return a number of seconds from the files of nginx or Caddy, which must be the same in all of them."""
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
        "share link throttling: wrong passwords of an address": share_links.ADDRESS_LIMIT.refill_seconds,
        "share link throttling: wrong passwords of a link": share_links.LINK_LIMIT.refill_seconds,
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
        "worker: abandoned password reset": task_queue.RESET_MAILS_LOST_AFTER_SECONDS,
        "known device": plain["DEVICE_COOKIE_DAYS"] * UNITS["days"],
        "single sign-on: one request": plain["SOCIALACCOUNT_REQUESTS_TIMEOUT"],
        "Redis: one request": caches["default"]["OPTIONS"]["socket_timeout"],
    }


@pytest.fixture
def in_use(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return the values of the code and of the default settings."""
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
        "storage: cached access check of the bucket": objects.READABLE_CACHE_SECONDS,
        "storage: pause between attempts": longest_pause(client.ATTEMPTS - 1),
        "storage, batch: read": client.BATCH_READ_SECONDS,
        "storage, batch: attempts": client.BATCH_ATTEMPTS,
        "storage, server-side copy: read": client.BULK_READ_SECONDS,
        "bucket listing: one request": client.OWN_URL_SECONDS,
        "sweep: lease of a batch": sweep.LEASE_SECONDS,
        "sweep: shortest backoff of a row": sweep.MIN_BACKOFF_SECONDS,
        "sweep: longest backoff of a row": sweep.MAX_BACKOFF_SECONDS,
        "sweep: lease of a preview without a file": sweep.PREVIEW_LEASE_SECONDS,
        "sweep: pause between checks for orphaned multipart uploads": orphaned_multiparts.PAUSE_SECONDS,
        "sweep: pause between checkpoints in the bucket": bucket_guard.PAUSE_SECONDS,
        "ZIP: permission check": zips.RECHECK_SECONDS,
        "ZIP or form: below 4 KiB/s": slow_clients.LowestRate.WINDOW_SECONDS,
        "form: rate check": slow_clients.SenderWatch.CHECK_SECONDS,
        "sweep: age of an orphaned multipart upload": orphaned_multiparts.GRACE.total_seconds(),
        "fsck: minimum age": fsck.GRACE_SECONDS,
        "fsck: reading a block of rows": fsck_rows.BLOCK_SECONDS,
        "fsck: lost heartbeat": fsck.LEASE_LOST_SECONDS,
        "move: lease of a row": rows.LEASE_SECONDS,
        "move: lease renewal": rows.RENEW_SECONDS,
        "doctor: clock skew warning": storage.WARN_SECONDS,
        "doctor: clock skew failure": storage.FAIL_SECONDS,
        "log: clock skew": errors.MAX_CLOCK_SKEW_SECONDS,
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
        "lists: counting": pagination.SEARCH_TIMEOUT_SECONDS,
        "admin lists: searching": admin_base.STATEMENT_TIMEOUT_SECONDS,
        "health check: slow client": probe_server.CLIENT_SECONDS,
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
        "gunicorn: client closes its end": gunicorn_worker.LINGER_SECONDS,
        "finish: lease of a row": querysets.LEASE_SECONDS,
        "expired uploads: clock skew": CLOCK_SKEW_MARGIN_SECONDS,
        "sweep: trust in a storage that responded": circuit_breaker.RECENT_RESPONSE_SECONDS,
        "preview: rendering": renderer.WAIT_SECONDS,
        "text of a document: reading": renderer.TEXT_WAIT_SECONDS,
        "text of documents: lookup of a search": content.MATCH_SECONDS,
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
        "mail: response to a complete mail": mail.END_OF_DATA_SECONDS,
        "mail: abandoned task": mail.MAIL_LOST_AFTER_SECONDS,
        "sweep: interval": int(every[1]),
        "doctor: one storage check": limits_of_doctor.CHECK_SECONDS,
        "doctor: all database checks": doctor.DATABASE_SECONDS,
        "doctor: certificate check": doctor_database.HANDSHAKE_SECONDS,
        "doctor: query for storages in use": doctor_database.STORES_SECONDS,
        "doctor: all storage checks": doctor.STORE_SECONDS,
        "doctor: all external checks": doctor.EXTERNAL_SECONDS,
        "malware check: connect to clamd": malware_scanners.CONNECT_SECONDS,
        "malware check: clamd takes a chunk": malware_scanners.SEND_SECONDS,
        "malware check: clamd replies": malware_scanners.REPLY_SECONDS,
        "malware check: lost task": malware_tasks.LOST_AFTER_SECONDS,
        "URL: upload of a part": signing.URL_SECONDS,
        "URL: download": signing.DOWNLOAD_SECONDS,
        "URL: preview": 2 * signing.WINDOW_SECONDS,
        "token: database sign-in": amalga.db.connection.TOKEN_SECONDS,
        "URL: own requests": client.OWN_URL_SECONDS,
        "upload: expiry": expiry,
        "upload: expiry by the storage": expiry + provision.RESUMED_DAYS * UNITS["days"],
        "trash: retention period": plain["TRASH_RETENTION_DAYS"] * UNITS["days"],
        **signing_in(plain, read(monkeypatch, CACHE_URL="redis://localhost")["CACHES"]),
        "deleted objects: retention period": bucket_policies.KEEP_DAYS * UNITS["days"],
        "browser: request to the application": of_script("api.js", "TIMEOUT_MS"),
        "browser: stalled upload": of_script("upload-file.js", "STALL_TIMEOUT_MS"),
        "browser: response to a part": of_script("upload-file.js", "RESPONSE_TIMEOUT_MS"),
        "browser: age of an upload URL": of_script("upload-file.js", "MAX_URL_AGE_MS"),
        "browser: shortest backoff": of_script("retry.js", "BASE_DELAY_MS"),
        "browser: longest backoff": of_script("retry.js", "MAX_DELAY_MS"),
        "browser: longest Retry-After": of_script("retry.js", "MAX_RETRY_AFTER_MS"),
        "web app manifest: cached by the browser": web_app.MANIFEST_SECONDS,
        "browser: shared files on the device": of_script("share-target.js", "EXPIRY_MS"),
    }


def test_doctor_ends_within_a_minute(in_use: dict[str, float]) -> None:
    assert quick_call(in_use) < in_use["doctor: one storage check"]
    database_seconds = (
        in_use["doctor: all database checks"] + in_use["database: connect"] + in_use["database: any response"]
    )
    others = ("doctor: all storage checks", "doctor: all external checks")
    assert database_seconds + sum(in_use[name] for name in others) <= 60


def longest_pause(retry: int) -> float:
    """Return the longest pause of botocore before this retry (counted from 1) of a throttled call."""
    throttled: Any = type("Throttled", (), {"is_throttling_error_from_context": lambda self, context: True})()
    context: Any = type("Context", (), {"attempt_number": retry, "http_response": None})()
    backoff = ExponentialBackoff(random=lambda: 1.0, service_name="s3", throttling_detector=throttled)
    return float(backoff.delay_amount(context))


def test_documented_timeouts_are_those_in_use(in_use: dict[str, float]) -> None:
    assert {what: value for what, value in DOCUMENTED.items() if what not in YOURS} == in_use


def test_documented_files_and_names_exist() -> None:
    for what, _number, _unit, where in ROW.findall((PROJECT / "docs" / "operate" / "timeouts.md").read_text()):
        file, *names = re.findall(r"`([^`]+)`", where) or [""]
        place = PROJECT / (file if not file.startswith("js/") else f"uploads/static/uploads/{file}")
        elsewhere = file.isupper() or "provision" in where or "botocore" in where
        assert what in YOURS or place.is_file() or elsewhere, where
        if place.is_file() and names and names[0].isidentifier():
            assert names[0] in place.read_text(), where


# Pauses in our own loops, and limits that a caller chooses: not timeouts between two parties.
NAPS = {"PAUSE_SECONDS", "WAIT_SECONDS", "HEARTBEAT_SECONDS", "TICK_SECONDS", "SLICE_SECONDS", "SAVE_SECONDS",
        "UNAVAILABLE_PAUSE_SECONDS", "RETRY_SECONDS", "MAX_SECONDS", "MAX_PAUSE_SECONDS", "MAX_GRACE_SECONDS",
        "FORGOTTEN_WITHIN_SECONDS", "CHECK_SECONDS", "CORS_SECONDS", "SECONDS_IN_A_PIPE",
        "SECONDS_ON_A_TERMINAL", "SAMPLE_SECONDS", "SECURE_HSTS_SECONDS", "URL_VALID_MILLISECONDS",
        "MAX_AGE_SECONDS", "COOKIE_SECONDS"}  # fmt: skip


def test_all_timeouts_are_documented() -> None:
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
    """Return the longest duration of one storage call."""
    each = of["storage: connect"] + of["storage: read"]
    return each * of["storage: attempts"] + of["storage: pause between attempts"] * (of["storage: attempts"] - 1)


def patient_call(of: dict[str, float]) -> float:
    attempts = int(of["storage, batch: attempts"])
    pauses = sum(longest_pause(retry) for retry in range(1, attempts))
    return (of["storage: connect"] + of["storage, batch: read"]) * attempts + pauses


def assembly(of: dict[str, float]) -> float:
    """ListParts (1,000 per page), Complete, GET, HEAD: all slow, because the first failure ends it."""
    return 4 * quick_call(of)


# For each rule, the smaller and the larger duration.
Sum = Callable[[dict[str, float]], float]
ORDER: dict[str, tuple[str | Sum, str | Sum]] = {
    "unavailable storage is reported in time": (quick_call, "response to a person"),
    "unavailable database is reported in time": (
        lambda of: of["database: wait for a connection"] + of["database: reconnect"], "response to a person"),
    "the wait for the pool is shorter than connecting": ("database: wait for a connection", "database: connect"),
    "a lock timeout comes before the statement timeout": ("database: lock", "database: statement"),
    "the server cancels a statement before we stop waiting": ("database: statement", "database: any response"),
    "we stop waiting before the person does": ("database: any response", "response to a person"),
    "a probe ends before the load balancer stops waiting": (
        lambda of: of["health check: connect"] + of["database: connection check"], "load balancer: health check"),
    "a probe waits for storage only briefly": ("health check: first wait for storage", "load balancer: health check"),
    "a silent replica leaves time for the primary": (
        lambda of: of["database: connection check"] + of["replica: any response"] + of["lists: counting"],
        "response to a person"),
    "counting times out before the replica does": ("lists: counting", "replica: any response"),
    "own writes are remembered longer than the maximum lag": (
        "replica: maximum lag of lists", "replica: wait for a person's own changes"),
    "a worker stops and sends its reports before it is killed": (
        lambda of: of["worker: turn"] + of["preview: rendering"] + of["Sentry: flush at exit"],
        "platform: kill of the worker"),
    "counting leaves time for the page": ("lists: counting", "database: statement"),
    "an idle transaction ends before the gunicorn timeout": ("database: idle in a transaction", "gunicorn: timeout"),
    "a statement ends before the gunicorn timeout": ("database: statement", "gunicorn: timeout"),
    "a response is sent before the graceful timeout": ("response to a person", "gunicorn: graceful timeout"),
    "graceful stop ends before the gunicorn timeout": ("gunicorn: graceful timeout", "gunicorn: timeout"),
    "the balancer waits for a graceful stop": ("gunicorn: graceful timeout", "load balancer: deregistration delay"),
    "the platform waits for a graceful stop": ("gunicorn: graceful timeout", "platform: kill of the web process"),
    "the load balancer closes idle connections before gunicorn does": ("load balancer: idle", "gunicorn: keepalive"),
    "nginx keeps a connection longer than a load balancer": ("load balancer: idle", "nginx: idle connection"),
    "nginx keeps a connection longer than Caddy": ("Caddy: idle connection to nginx", "nginx: idle connection"),
    "nginx waits for a response": ("response to a person", "nginx: gunicorn sends nothing"),
    "nginx waits for a form as long as storage can need": (patient_call, "nginx: gunicorn reads nothing"),
    "a stalled upload frees its thread before the process stops": (
        "nginx: pause in a request body", "gunicorn: graceful timeout"),
    "a slow download frees its thread before the stop": ("nginx: pause in a response", "gunicorn: graceful timeout"),
    "the load balancer waits for a response": ("response to a person", "load balancer: idle"),
    "a worker can finish its turn and its preview": (
        lambda of: of["worker: turn"] + of["preview: rendering"], "platform: kill of the worker"),
    "unavailable single sign-on is reported in time": (
        lambda of: 2 * of["single sign-on: one request"], "response to a person"),
    "a session in use is renewed before it expires": (
        "session: renewal", "session: idle"),
    "account throttling ends before address throttling": (
        "sign-in throttling: account", "sign-in throttling: address and account"),
    "completing an upload ends before its lease": (assembly, "finish: lease of a row"),
    "the CPU limit comes before the rendering timeout": ("preview: CPU time", "preview: rendering"),
    "a preview is finished before its lease ends": (
        lambda of: of["preview: rendering"] + 2 * patient_call(of), "preview: lease"),
    "a worker can finish its mail": ("mail: response to a complete mail", "platform: kill of the worker"),
    "a mail task is not abandoned while it sends": (
        lambda of: 10 * of["mail: connect, and each response"] + of["mail: response to a complete mail"],
        "mail: abandoned task"),
    "a preview task is not abandoned while it renders": ("preview: lease", "worker: abandoned task"),
    "the lease of a batch outlasts its work": (assembly, "sweep: lease of a batch"),
    "sweep backoff grows": ("sweep: shortest backoff of a row", "sweep: longest backoff of a row"),
    "the lease of a move is renewed twice before it ends": (
        lambda of: 2 * of["move: lease renewal"], "move: lease of a row"),
    "fsck skips uploads in progress": (
        lambda of: of["URL: upload of a part"] + of["finish: lease of a row"], "fsck: minimum age"),
    "an upload is not orphaned while its row is written": (
        "response to a person", "sweep: age of an orphaned multipart upload"),
    "a failed row is retried before the storage expires its upload": (
        "sweep: longest backoff of a row", "upload: expiry by the storage"),
    "the clock skew warning comes before the failure": ("doctor: clock skew warning", "doctor: clock skew failure"),
    "an upload URL outlasts the tolerated clock skew": ("doctor: clock skew failure", "URL: upload of a part"),
    "a listing page arrives before its request expires": (
        lambda of: of["storage: connect"] + of["storage, batch: read"], "bucket listing: one request"),
    "an upload URL is renewed before it expires": ("browser: age of an upload URL", "URL: upload of a part"),
    "an upload URL is valid long enough to send a part": (
        lambda of: of["browser: stalled upload"] + of["browser: response to a part"], "URL: upload of a part"),
    "an upload URL expires before its upload": ("URL: upload of a part", "upload: expiry"),
    "a download URL expires before an upload URL": ("URL: download", "URL: upload of a part"),
    "the sweep cancels an upload before the storage expires it": (
        lambda of: of["upload: expiry"] + of["sweep: interval"], "upload: expiry by the storage"),
    "purged objects are kept longer than the trash": (
        "trash: retention period", "deleted objects: retention period"),
    "the browser waits for the application": ("response to a person", "browser: request to the application"),
    "the browser waits for storage": ("browser: stalled upload", "browser: response to a part"),
    "browser backoff grows": ("browser: shortest backoff", "browser: longest backoff"),
    "Retry-After can exceed the longest backoff": ("browser: longest backoff", "browser: longest Retry-After"),
}  # fmt: skip


@pytest.mark.parametrize("rule", ORDER)
def test_timeouts_are_in_the_right_order(rule: str) -> None:
    smaller, larger = (DOCUMENTED[side] if isinstance(side, str) else side(DOCUMENTED) for side in ORDER[rule])
    assert smaller < larger


@pytest.mark.parametrize("left", [5, 200, 100_000])
def test_presigned_urls_expire_before_their_credentials(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "seconds_of_credentials", lambda *_, limit: min(left, limit))
    store = main_store()
    assert signing.expires_in(signing.URL_SECONDS, store) == min(left, DOCUMENTED["URL: upload of a part"])
    assert signing.expires_in(signing.DOWNLOAD_SECONDS, store) == min(left, DOCUMENTED["URL: download"])
    assert signing.expires_in(2 * signing.WINDOW_SECONDS, store) == min(left, DOCUMENTED["URL: preview"])


def test_storage_clients_use_the_documented_timeouts() -> None:
    kinds: dict[client.ClientProfile, tuple[str, str]] = {
        "quick": ("storage: read", "storage: attempts"),
        "batch": ("storage, batch: read", "storage, batch: attempts"),
    }
    for kind, (read_seconds, attempts) in kinds.items():
        config: Any = client.client(kind).meta.config  # not in the type stubs
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


def test_expired_upload_is_kept_until_its_urls_have_expired() -> None:
    """By then, even a storage whose clock is this far behind ours rejects the URL."""
    assert DOCUMENTED["expired uploads: clock skew"] > 0
    assert DOCUMENTED["URL: upload of a part"] == s3.URL_SECONDS
    assert "signed_until__lt" in str(urls_expired())
