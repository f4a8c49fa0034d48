"""Errors reach Sentry with their place in the code and without personal data or secrets."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import brotli
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from amalga import __version__
from tests.amalga.test_log_format import SIGNED
from tests.amalga.test_settings import read
from tests.conftest import PROJECT
from tests.support import factories
from tests.support.http_servers import serve_in_thread

KEY = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SECRETS = [
    "hunter22", "0123456789abcdef0123456789abcdef", "IQoJb3JpZ2lu", "AKIA", "Contract-4711", "asked-for", "erin",
    "from-a-cookie", "local_of_ours",
]  # fmt: skip

# A separate process, because the Sentry SDK cannot be removed from a process again.
BREAKS = f"""
import logging, sys
import django
django.setup()
import sentry_sdk
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from django.db import OperationalError
from django.test import Client, RequestFactory
from uploads import s3
from uploads.errors import StorageUnavailable

client = Client()
client.force_login(User.objects.get(username="erin"))
cookies = "; ".join([f"{{name}}={{morsel.value}}" for name, morsel in client.cookies.items()] + ["other=from-a-cookie"])
application = get_wsgi_application()  # as gunicorn does
def breaking(fault):
    def broken(*_, **__):
        local_of_ours = "hunter22"
        raise fault
    return broken
def ask(fault):
    s3.download_url = breaking(fault)
    environ = RequestFactory()._base_environ(
        PATH_INFO=f"/files/{{sys.argv[1]}}/download", QUERY_STRING="inline=1&word=asked-for", HTTP_COOKIE=cookies,
        HTTP_AUTHORIZATION="Bearer hunter22", HTTP_USER_AGENT="hunter22")
    answered = []
    list(application(environ, lambda status, headers: answered.append(int(status[:3]))))
    return answered[0]
logging.getLogger("uploads.services").info("signed_in password=hunter22")
codes = [ask(RuntimeError("postgres://app:hunter22@db {SIGNED}")), ask(StorageUnavailable("GetObject: 503")),
         ask(OperationalError("first outage")), ask(OperationalError("second outage"))]
logging.getLogger("uploads").error("token=hunter22")
sentry_sdk.flush(5)
print(codes)
"""


class Collector:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def take(self, body: bytes, encoding: str | None) -> None:
        unpacked = {"gzip": gzip.decompress, "br": brotli.decompress}.get(encoding or "", bytes)(body)
        lines = [json.loads(line) for line in unpacked.splitlines()]
        self.events += [item for head, item in itertools.pairwise(lines) if head.get("type") == "event"]

    @property
    def text(self) -> str:
        """Return all that was sent except the lines of code around each frame."""
        return re.sub(r'"(pre_context|context_line|post_context)": (\[[^\]]*\]|"[^"]*")', "", json.dumps(self.events))


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """Run a server that collects the events of the Sentry SDK, and yield its DSN."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(body, self.headers["Content-Encoding"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serve_in_thread(server):
        yield collector, f"http://{KEY}@127.0.0.1:{server.server_address[1]}/1"
        server.server_close()


@pytest.fixture
def collected(transactional_db: None, roles: None) -> Collector:
    erin = factories.create_user("erin", "uploaders")
    file = factories.create_file(erin, name="Contract-4711.txt")
    with collecting() as (collector, dsn):
        database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
        env = {**os.environ, "SENTRY_DSN": dsn, "DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "amalga.settings",
               "ALLOWED_HOSTS": "testserver", "SENTRY_RELEASE": "1.2.3"}  # fmt: skip
        command = [sys.executable, "-c", BREAKS, str(file.pk)]
        ended = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.strip() == "[500, 503, 503, 503]", ended.stderr
    return collector


def test_error_is_reported_with_its_frame_and_without_personal_data(collected: Collector) -> None:
    first, *others = collected.events
    (exception,) = first["exception"]["values"]
    assert (exception["type"], exception["stacktrace"]["frames"][-1]["function"]) == ("RuntimeError", "broken")
    assert set(first["request"]) == {"method", "url"}
    assert first["request"]["url"].endswith("/download")
    assert (first["release"], first.get("user")) == ("1.2.3", None)
    assert len(first["tags"]["request_id"]) == 16
    assert [secret for secret in SECRETS if secret in collected.text] == []
    # the database outage once, the storage outage never, and the logged error
    messages = [
        event.get("logentry", {}).get("message") or event["exception"]["values"][-1]["value"] for event in others
    ]
    assert messages == ["first outage", "token=…"]


@pytest.mark.parametrize(
    "odd", ["nonsense", "https://sentry.example.org/1", "ftp://key@sentry.example.org/1", "https://key@/"]
)
def test_invalid_sentry_dsn_is_rejected_without_printing_it(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="SENTRY_DSN must be a URL") as refused:
        read(monkeypatch, SENTRY_DSN=odd)
    assert odd not in str(refused.value)


def test_reports_name_the_version_as_their_release(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch)["SENTRY_RELEASE"] == f"amalga@{__version__}"


def test_sentry_sdk_is_not_imported_without_a_dsn() -> None:
    script = "import django, sys; django.setup(); print('sentry_sdk' in sys.modules)"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "amalga.settings"}
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=env, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "False"


def test_unavailable_sentry_does_not_delay_responses(tmp_path: Path) -> None:
    script = "import django, logging; django.setup(); logging.getLogger('uploads').error('x')"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "amalga.settings", "SENTRY_DSN": f"http://{KEY}@127.0.0.1:9/1"}
    ended = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=env, capture_output=True, text=True,
                           timeout=30, check=True)  # fmt: skip
    assert KEY not in ended.stderr
