"""Measure ten thousand concurrent guests of one file request: `make bench-guests`.

Each guest has a separate address and session, opens the page and starts an upload. There are more guests than
files that the request accepts, so that the last ones are refused. gunicorn runs behind the shipped nginx.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import django

from bench.load import behind_nginx
from bench.report import percentile, save_results
from bench.web import Web

MAX_FILES, GUESTS = 10_000, 10_200
CONCURRENCY = 24
PER_NETWORK = 200  # of the last number of an address
REFUSALS = {"over_quota", "too_many_attempts"}


class GuestLoad:
    def __init__(self, web: Web, path: str) -> None:
        self.port, self.path = urlsplit(web.url).port or 80, path
        self.statuses: Counter[str] = Counter()
        self.unclear = 0  # refusals without a known code and a message
        self.ms: dict[str, list[float]] = {"page": [], "first file": []}
        self._lock = threading.Lock()

    def visit(self, number: int) -> None:
        """Open the page as this guest, and start an upload."""
        address = f"127.{3 + number // (PER_NETWORK * 250)}.{number // PER_NETWORK % 250}.{1 + number % PER_NETWORK}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(address, 0))
        try:
            status, cookies, _body = self._send(connection, "page", "GET", self.path, {}, b"")
            if status != 200:
                self._count(f"page {status}")
                return
            headers = {
                "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
                "X-CSRFToken": next(value for name, value in cookies.items() if "csrf" in name),
                "Content-Type": "application/json",
            }
            file = {"token": str(uuid.uuid4()), "name": f"{number}.txt", "size": 1, "type": "text/plain"}
            body = json.dumps({"files": [file]}).encode()
            status, _cookies, response_body = self._send(
                connection, "first file", "POST", f"{self.path}uploads/", headers, body
            )
        finally:
            connection.close()
        self._count(str(status))
        if status != 200:
            error = json.loads(response_body).get("error", {}) if response_body.startswith(b"{") else {}
            if error.get("code") not in REFUSALS or not error.get("message"):
                with self._lock:
                    self.unclear += 1

    def _send(
        self,
        connection: http.client.HTTPConnection,
        kind: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
    ) -> tuple[int, dict[str, str], bytes]:
        started = time.perf_counter()
        connection.request(method, path, body, {"Host": "localhost", **headers})
        response = connection.getresponse()
        response_body = response.read()
        with self._lock:
            self.ms[kind].append((time.perf_counter() - started) * 1000)
        pairs = (text.partition(";")[0].partition("=") for text in response.headers.get_all("Set-Cookie", []))
        return response.status, {name: value for name, _equals, value in pairs}, response_body

    def _count(self, status: str) -> None:
        with self._lock:
            self.statuses[status] += 1


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    request, path = _request()
    with ExitStack() as stack:
        web = behind_nginx(stack, log=stack.enter_context(tempfile.TemporaryFile()), WEB_CONCURRENCY="2")
        load = GuestLoad(web, path)
        with web.measured() as cost, ThreadPoolExecutor(CONCURRENCY) as threads:
            for number, _none in enumerate(threads.map(load.visit, range(GUESTS)), start=1):
                if number % 1000 == 0:
                    print(f"{number:,} guests", file=sys.stderr, flush=True)
    rows = [
        {"case": kind, "p50_ms": percentile(ms, 0.5), "p95_ms": percentile(ms, 0.95), "responses": len(ms)}
        for kind, ms in load.ms.items()
    ]
    print(save_results("guests", rows, _verdicts(request, load, cost)))


def _request() -> tuple[Any, str]:
    """Create a request for files in a new folder, and return it with the path of its page."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from uploads.models import Folder
    from uploads.services import file_requests

    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    creator = User.objects.create_superuser("bench-manager")
    folder = Folder.objects.create(name="Party", created_by=creator)
    limits = {"max_files": MAX_FILES, "max_file_bytes": 1000, "max_bytes": 10**9}
    request, token = file_requests.create(folder, by=creator, days=7, title="Photos", **limits)
    return request, f"/r/{token}/"


def _verdicts(request: Any, load: GuestLoad, cost: Any) -> list[str]:
    from uploads.models import File, GuestSession

    request.refresh_from_db()
    sessions = GuestSession.objects.filter(request=request).count()
    files = File.objects.filter(guest_session__request=request).count()
    errors = sum(count for status, count in load.statuses.items() if status not in {"200", "413", "429"})
    return [
        f"{GUESTS:,} guests, {CONCURRENCY} at each moment: {sessions:,} sessions opened, {cost.wall_s:.0f} s",
        f"files: {files:,}, counted {request.file_count:,} (exactly {MAX_FILES:,})",
        f"responses to the first file: {json.dumps(load.statuses, sort_keys=True)}; errors: {errors} (at most 0), "
        f"refusals without a message: {load.unclear} (at most 0)",
        f"web CPU: {cost.web_cpu_s * 1000 / GUESTS:.1f} ms per guest; memory of the web grew by "
        f"{cost.web_growth_mib:.0f} MiB at its peak",
    ]


if __name__ == "__main__":
    main()
