"""Redaction of log lines takes linear time, even for headers that a client chooses (Origin, Host)."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from amalga import log, sentry
from amalga.log import (
    HINT,
    LINK_PATHS,
    MAX_MESSAGE_CHARACTERS,
    MAX_TRACEBACK,
    SECRETS,
    JSONFormatter,
    PlainFormatter,
    redact,
)
from tests.amalga.test_log_format import raised, record
from tests.conftest import serving
from tests.support.regex_timing import GLUE, MAX_SECONDS, hostile, slow_units

pytestmark = pytest.mark.slow

KEYWORDS = [
    "password", "passwd", "secret", "token", "session", "csrf", "apikey", "api-key", "api key", "api.key",
    "dsn", "authorization", "cookie", "Bearer", "Basic", "AWS4-HMAC-SHA256", "X-Amz-Signature", "X-Amz-Credential",
    "X-Amz-Security-Token", "DETAIL:", "LINE 1:", "CONTEXT: COPY", "/s/", "/accounts/reset/",
    "a", "-", "+", ".", "%", "word", "é",
]  # fmt: skip
SIZE = 32_000
SITE_SECONDS = 5  # for one response; with slow redaction, a request exceeded gunicorn's timeout of 30 seconds


def seconds(work: Any) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_redaction_of_a_repeated_keyword_takes_linear_time(keyword: str) -> None:
    assert slow_units(HINT.search, [keyword]) == []
    assert slow_units(lambda text: SECRETS.sub("", text), hostile([keyword])) == []


@pytest.mark.parametrize("seed", range(8))
def test_redaction_of_mixed_keywords_takes_linear_time(seed: int) -> None:
    chosen = random.Random(seed)
    units = ["".join(chosen.choices([*KEYWORDS, *GLUE], k=chosen.randint(2, 6))) for _ in range(25)]
    assert slow_units(lambda text: SECRETS.sub("", text), units) == []


@pytest.mark.parametrize("keyword", ["token", "session-", "://", "?=", "cookie: ", "x=\n"])
def test_long_message_and_traceback_are_formatted_in_time(keyword: str) -> None:
    text = keyword * (20 * SIZE // len(keyword))
    entry = record("%s", text, fault=raised(text), stack_info=text)
    for formatter in (PlainFormatter(), JSONFormatter()):
        assert seconds(lambda: formatter.format(entry)) < 2 * MAX_SECONDS  # noqa: B023


def test_long_messages_are_truncated() -> None:
    line = PlainFormatter().format(record("sign_in_failed origin=%s more", "tokens " * SIZE))
    assert len(line) < MAX_MESSAGE_CHARACTERS + 200
    assert "sign_in_failed origin=tokens" in line
    assert f"… [cut, {len('sign_in_failed origin= more') + 7 * SIZE} characters]" in line


def test_log_line_of_rejected_origin_is_truncated() -> None:
    entry = record("Forbidden (%s): %s", f"Origin checking failed - {'token' * SIZE} is not trusted.", "/accounts/")
    assert "Forbidden (Origin checking failed - … [cut, " in PlainFormatter().format(entry)


@pytest.mark.parametrize("secret", [
    "postgres://app:Hunter2Hunter2@db/x", "password=Hunter2Hunter2", "'password': 'Hunter2Hunter2'",
    "Authorization: Bearer Hunter2Hunter2", "https://host/f?X-Amz-Signature=Hunter2Hunter2",
])  # fmt: skip
def test_secret_at_the_truncation_is_redacted(secret: str) -> None:
    for before in range(MAX_MESSAGE_CHARACTERS - len(secret) - 1, MAX_MESSAGE_CHARACTERS + 1):
        text = "x" * (before - 1) + " " + secret + " y" * 50
        assert "Hunt" not in redact(text) + log.redact_traceback(text)


@pytest.mark.parametrize("path", LINK_PATHS)
def test_tokens_of_public_links_are_redacted(path: str) -> None:
    token = "k3-Yp_0aB9cD8eF7gH6iJ5kL4mN3oP2q"
    reported = sentry.before_send({"request": {"url": f"https://files.example.org{path}{token}/"}}, {})
    assert reported
    assert reported["request"]["url"] == f"https://files.example.org{path}…/"
    for text, redacted in [
        (f"Internal Server Error: {path}{token}/download", f"Internal Server Error: {path}…/download"),
        (f"Forbidden: http://files.example.org{path}{token}", f"Forbidden: http://files.example.org{path}…"),
    ]:
        assert redact(text) == redacted


def test_long_traceback_keeps_its_first_and_last_lines() -> None:
    text = "\n".join(["Traceback", *(f"  line {number} {'x' * 50}" for number in range(5_000)), "Error: token=Hunter2"])
    lines = log.redact_traceback(text).split("\n")
    assert (lines[0], lines[-1]) == ("Traceback", "Error: token=…")
    assert sum(map(len, lines)) < MAX_TRACEBACK + 100
    assert lines.count(f"… [{5_003 - len(lines)} lines left out]") == 1


@pytest.mark.parametrize("text", ["", "\n", "one line", "a\nb", "a\n\n", "x" * MAX_MESSAGE_CHARACTERS])
def test_short_traceback_is_unchanged(text: str) -> None:
    assert log.redact_traceback(text) == text


# --- Sentry reports ---------------------------------------------------------------------------


def test_reports_of_deep_and_large_structures_are_truncated() -> None:
    deep: Any = "token=Hunter2"
    for _ in range(100_000):
        deep = {"a": [deep]}
    large = {f"{number}": [{"text": "token=Hunter2 " * 20_000}] * 500 for number in range(500)}
    sent: Any = None

    def scrub() -> None:
        nonlocal sent
        sent = sentry.before_send({"logentry": {"message": "broken", "params": [deep, large]}}, {})

    assert seconds(scrub) < 10 * MAX_SECONDS
    assert sent["logentry"]["message"] == "broken"
    assert "Hunter2" not in str(sent)
    assert len(str(sent)) < 2 * sentry.MAX_SIZE


def test_reports_keep_the_innermost_frames() -> None:
    frames = [{"function": f"f{number}", "vars": None} for number in range(1_000)]
    event: Any = {"exception": {"values": [{"type": "E", "value": "x", "stacktrace": {"frames": frames}}]}}
    sent: Any = sentry.before_send(event, {})
    sent_frames = sent["exception"]["values"][0]["stacktrace"]["frames"]
    assert sent_frames == frames[-sentry.MAX_ITEMS :]


# --- running site -----------------------------------------------------------------------------

HOSTILE = [
    unit * (8_000 // len(unit)) for unit in ("token", "session-", "apikey", "a://", "?=", "Bearer ", "cookie=", "-a")
]


@pytest.fixture(scope="module", params=["off", "on"], ids=["http", "https"])
def web(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[http.client.HTTPConnection]:
    """One process, so that the same process answers the next request."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    variables = {"WEB_CONCURRENCY": "1", "HTTPS": request.param, "PROXY_COUNT": "1", "STAFF_SECOND_FACTOR": "off"}
    with serving(folder, variables) as url:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=SITE_SECONDS)
        yield connection
        connection.close()


def request(web: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]) -> int:
    web.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {"X-Forwarded-Proto": "https", "Content-Length": "0", **headers}.items():
        web.putheader(name, value)
    web.endheaders()
    response = web.getresponse()
    response.read()
    web.close()
    return response.status


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "name", ["Origin", "Referer", "Host", "User-Agent", "X-Forwarded-For", "X-Request-Id", "Cookie"]
)
def test_hostile_header_causes_no_server_error(web: http.client.HTTPConnection, name: str) -> None:
    for text in HOSTILE:
        for value in (text, f"https://{text}"):
            assert request(web, "POST", "/accounts/login/", {name: value}) in range(300, 500)
            assert request(web, "GET", "/healthz", {}) == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before", ["/", "/accounts/login/?", "/files/", "/uploads/?x="])
def test_hostile_path_causes_no_server_error(web: http.client.HTTPConnection, before: str) -> None:
    for text in HOSTILE:
        path = before + text.replace(" ", "+")[:3_500]
        assert request(web, "POST", path, {"Origin": "null"}) in range(300, 500)
        assert request(web, "GET", path, {}) in range(200, 500)
        assert request(web, "GET", "/healthz", {}) == 200
