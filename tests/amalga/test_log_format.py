"""Log format: one JSON object or one line for each record, with its request ID and without secrets."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from amalga import __version__
from amalga.log import JSONFormatter, PlainFormatter, SuspiciousRequestFilter, redact, request_id
from tests.amalga.test_settings import WHOLE, read
from tests.conftest import PROJECT, serving
from tests.support import log_scanner

SIGNED = (
    "https://bucket.s3.eu-central-1.amazonaws.com/f/00?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F2026"
    "&X-Amz-Security-Token=IQoJb3JpZ2lu&X-Amz-Signature=0123456789abcdef0123456789abcdef"
)
TRACE = "1-67891233-abcdef012345678912345678"


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    log_record = logging.LogRecord(
        "uploads.services.start", logging.INFO, __file__, 1, message, args, more.pop("fault", None)
    )
    vars(log_record).update(more)
    return log_record


def plain(message: str, *args: object, **more: Any) -> str:
    return PlainFormatter().format(record(message, *args, **more))


def as_json(message: str, *args: object, **more: Any) -> dict[str, Any]:
    line = JSONFormatter().format(record(message, *args, **more))
    assert "\n" not in line
    fields: dict[str, Any] = json.loads(line)
    return fields


def raised(message: str) -> Any:
    try:
        raise RuntimeError(message)
    except RuntimeError:
        return sys.exc_info()


@pytest.fixture(autouse=True)
def unnamed() -> Iterator[None]:
    """Run without a request ID, even if an earlier test set one in this thread."""
    token = request_id.set("")
    yield
    request_id.reset(token)


@pytest.fixture
def named(unnamed: None) -> None:
    request_id.set("0011223344556677")


# --- JSON and text ----------------------------------------------------------------------------


def test_json_line_has_time_event_and_request(named: None) -> None:
    fields = as_json("upload_started file=%s size=%s", "f1", 5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("time"))
    assert fields == {
        "version": __version__, "level": "INFO", "logger": "uploads.services.start",
        "message": "upload_started file=f1 size=5", "event": "upload_started", "request_id": "0011223344556677",
    }  # fmt: skip


def test_text_line_has_the_same_fields(named: None) -> None:
    line = plain("upload_started file=%s", "f1")
    assert line.endswith(" INFO uploads.services.start upload_started file=f1 request=0011223344556677")


def test_exception_is_one_json_object_or_indented_lines() -> None:
    fields = as_json("broken", fault=raised("this is what broke"))
    assert "RuntimeError: this is what broke" in fields["exception"]
    first, *lines = plain("broken", fault=raised("this is what broke\nCRITICAL forged")).splitlines()
    assert first.endswith("broken")
    assert all(line.startswith("  | ") for line in lines)


def test_unknown_record_attributes_are_not_logged() -> None:
    """Django adds the request as an attribute, and its repr contains the whole query string."""
    fields = as_json("Not found", request="<WSGIRequest: GET '/?q=secret'>", status_code=404, fields={"queue_age": 3})
    assert set(fields) == {"time", "version", "level", "logger", "message", "queue_age"}


@pytest.mark.parametrize("odd", ["a\r\nCRITICAL forged", "a\x1b[2Jb", "a\u202eb", "a\u2028b", "a\x00b", "a\x85b"])
def test_control_characters_in_arguments_are_escaped(odd: str) -> None:
    line = plain("odd agent=%s", odd)
    assert line.isprintable()
    assert JSONFormatter().format(record("odd agent=%s", odd)).isascii()
    assert as_json("odd agent=%s", odd)["message"] == f"odd agent={odd}"


# --- secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "secret"), [
    (f"GET {SIGNED} failed", "0123456789abcdef"),
    (f"GET {SIGNED} failed", "AKIA"),
    (f"GET {SIGNED} failed", "IQoJ"),
    ("'X-Amz-Security-Token': 'IQoJb3JpZ2lu'", "IQoJ"),
    ("Authorization: AWS4-HMAC-SHA256 Credential=AKIA/2026, Signature=abcd", "abcd"),
    ("Authorization: Bearer abc.def.ghi", "abc.def"),
    ("connection to postgres://app:hunter2@db/files failed", "hunter2"),
    ("password=hunter22 and more", "hunter22"),
    ("{'password': 'hunter22'}", "hunter22"),
    ("Cookie: __Host-amalga-session=abcdefghij0123456789", "abcdefghij"),
    ("amalga-csrf=abcdefghij0123456789", "abcdefghij"),
    ("csrfmiddlewaretoken=abcdefghij0123456789&x=1", "abcdefghij"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI", "wJalr"),
    ("SENTRY_DSN='https://0a1b2c3d@o1.example.org/1'", "0a1b2c3d"),
    ("/accounts/login/?next=/files/x/?word=hunter22", "hunter22"),
    ("violates a constraint\nDETAIL:  Failing row contains (1, Dismissal of Doe.txt, null).", "Doe"),
    ("duplicate key\nDETAIL:  Key (name)=(Dismissal of Doe.txt) already exists.", "Doe"),
    ("bad value\nCONTEXT:  COPY brought, line 3, column name: \"Dismissal of Doe.txt\"", "Doe"),
    ("bad value\nLINE 1: SELECT 1 WHERE name = 'Dismissal of Doe.txt'\n        ^", "Doe"),
])  # fmt: skip
def test_secrets_in_library_logs_are_redacted(text: str, secret: str) -> None:
    lines = (plain(text), plain("x", fault=raised(text)), as_json(text), as_json("x", fault=raised(text)))
    for line in map(str, lines):
        assert secret not in line
        assert "…" in line


def test_cached_traceback_of_another_formatter_is_not_reused() -> None:
    entry = record("x", fault=raised("password=hunter22"))
    assert "hunter22" in logging.Formatter().format(entry)
    assert "hunter22" not in PlainFormatter().format(entry) + JSONFormatter().format(entry)


@pytest.mark.parametrize("line", [
    "upload_started file=6d0c4f5e-3d0b-4b52-9d7e-1f2a3b4c5d6e owner=1 size=5",
    "s3_error operation=GetObject code=SlowDown",
    "bucket_marker_mismatch store='': The bucket belongs to another database.",
    "Listening at: http://0.0.0.0:8000 (1)",
    "sign_in_failed",
])  # fmt: skip
def test_own_log_lines_are_not_redacted(line: str) -> None:
    assert redact(line) == line


def test_log_scanner_finds_secrets_in_log_records() -> None:
    scanner = log_scanner.begin()
    before = scanner.records
    logging.getLogger("uploads.anything").warning("fetched %s", SIGNED)
    logging.getLogger("django.request").error("postgres://app:hunter2@db/files")
    logging.getLogger("uploads").info("user_signed_in user=1")
    findings = scanner.take()
    assert scanner.records == before + 3
    assert len(findings) == 3  # raw records, decoded and not; the output of our formatters contains none
    assert all("as written" in line for line in findings)


@pytest.mark.django_db
def test_log_scanner_finds_session_keys(as_alice: Client, settings: Settings) -> None:
    key = as_alice.cookies[settings.SESSION_COOKIE_NAME].value
    logging.getLogger("uploads").info("with %s", key)
    assert {line.partition(" in ")[0] for line in log_scanner.begin().take()} == {"session or token that was given out"}


# --- request IDs ------------------------------------------------------------------------------


@pytest.mark.django_db
def test_each_response_has_a_request_id(client: Client) -> None:
    names = {client.get(path).headers["X-Request-Id"] for path in ("/", "/nothing", "/healthz", "/uploads/", "/?x=%00")}
    assert len(names) == 5
    assert all(re.fullmatch(r"[0-9a-f]{16}", name) for name in names)


@pytest.mark.django_db
def test_error_page_shows_the_request_id(as_alice: Client) -> None:
    response = as_alice.get("/nothing")
    assert response.headers["X-Request-Id"] in response.content.decode()


@pytest.mark.django_db
def test_request_id_header_is_used_only_behind_a_proxy(client: Client, settings: Settings) -> None:
    headers = {"X-Amzn-Trace-Id": f"Self=1-2-3;Root={TRACE}", "X-Request-Id": "from-the-client"}
    assert client.get("/healthz", headers=headers).headers["X-Request-Id"] not in {TRACE, "from-the-client"}
    settings.PROXY_COUNT = 1
    assert client.get("/healthz", headers=headers).headers["X-Request-Id"] == TRACE
    assert client.get("/healthz", headers={"X-Request-Id": "a1.b2:c3=d4"}).headers["X-Request-Id"] == "a1.b2:c3=d4"


@pytest.mark.django_db
def test_request_id_prefers_self_over_root_of_the_trace_header(client: Client, settings: Settings) -> None:
    """A client chooses the Root (AWS, "Request tracing for your Application Load Balancer")."""
    settings.PROXY_COUNT = 1
    own = TRACE.replace("abcdef", "fedcba")
    response = client.get("/healthz", headers={"X-Amzn-Trace-Id": f"Self={own};Root={TRACE};CalledFrom=app"})
    assert response.headers["X-Request-Id"] == own


@pytest.mark.django_db
@pytest.mark.parametrize(
    "odd", ["short", "a" * 65, "forged line here", "x\r\nSet-Cookie: a=b", "<script>alert(1)", "١٢٣٤٥٦٧٨٩"]
)
def test_invalid_request_id_header_is_ignored(odd: str, client: Client, settings: Settings) -> None:
    settings.PROXY_COUNT = 1
    response = client.get("/healthz", headers={"X-Request-Id": odd, "X-Amzn-Trace-Id": f"Root={odd}"})
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["X-Request-Id"])


# --- settings and server ----------------------------------------------------------------------


@pytest.mark.parametrize(("variables", "chosen"), [
    ({}, "json"), ({"DEBUG": "on"}, "plain"), ({"LOG_FORMAT": "plain"}, "plain"),
    ({"LOG_FORMAT": "JSON", "DEBUG": "on"}, "json"), ({"LOG_FORMAT": ""}, "json"),
])  # fmt: skip
def test_log_format_defaults_to_json_and_to_plain_with_debug(
    variables: dict[str, str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    assert read(monkeypatch, **variables)["LOG_FORMAT"] == chosen


def test_invalid_log_format_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT must be json or plain, not “xml”"):
        read(monkeypatch, LOG_FORMAT="xml")


def test_gunicorn_rejects_an_invalid_log_format() -> None:
    command = [sys.executable, "-m", "gunicorn", "-c", "amalga/gunicorn_conf.py", "--check-config", "amalga.wsgi"]
    env = {**WHOLE, "LOG_FORMAT": "xml", "PATH": ""}
    ended = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "LOG_FORMAT must be json or plain, not “xml”" in ended.stderr


@pytest.mark.django_db(transaction=True)
def test_all_log_lines_of_a_production_server_are_json(tmp_path: Path) -> None:
    agent = {"User-Agent": 'Mozilla\t"}{', "X-Request-Id": "12345678"}
    with serving(tmp_path, {"LOG_FORMAT": "json", "PROXY_COUNT": "1"}) as site:
        login = urllib3.request(
            "POST", f"{site}/accounts/login/", fields={"username": "x"}, headers=agent, retries=False
        )
        urllib3.request("GET", f"{site}/", headers={"Host": "evil.example", **agent}, retries=False)
    assert login.headers["X-Request-Id"] == "12345678"
    lines = [json.loads(line) for line in (tmp_path / "web.log").read_text().splitlines()]
    assert {"gunicorn.error"} <= {line["logger"] for line in lines}
    assert {line.get("request_id") for line in lines if line["logger"].startswith("django")} == {"12345678"}


def test_suspicious_requests_are_warnings_without_traceback() -> None:
    entry = record(
        "The number of fields exceeded the limit.", fault=raised("x"), name="django.security.TooManyFieldsSent"
    )
    entry.levelno, entry.levelname = logging.ERROR, "ERROR"
    other = record("failed", fault=raised("x"))
    for each in (entry, other):
        assert SuspiciousRequestFilter().filter(each)
    assert (
        PlainFormatter()
        .format(entry)
        .endswith(" WARNING django.security.TooManyFieldsSent The number of fields exceeded the limit.")
    )
    assert "RuntimeError" in PlainFormatter().format(other)
