"""Each scenario with each error of each storage operation: errors are reported, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import urllib3
from django.contrib.auth.models import User
from pytest_django import Settings

from tests.faults import scenarios
from tests.faults.actions import CommandAction, HttpAction, Result
from tests.faults.conftest import PART_BYTES
from tests.faults.harness import Harness
from tests.faults.in_process import InProcess
from tests.faults.processes import session_cookies
from tests.faults.scenarios import SCENARIOS
from tests.support import storage_proxies
from tests.support.storage_proxies import FAULTS, Request, Response, Rule, StorageProxy
from tests.support.stores import Bucket
from uploads.s3 import bucket_listing as s3_listing
from uploads.s3 import client as s3_client
from uploads.s3 import streams as s3_streams

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults, pytest.mark.timeout(600)]

SPREAD = True
READ_SECONDS = 0.3
# Downloads resume where they broke, a few times, each with a retry; a sweep checks twice.
MAX_ATTEMPTS = s3_client.BATCH_ATTEMPTS * s3_client.ATTEMPTS + 2 * s3_client.ATTEMPTS
# tests/api/test_injected_responses.py has more errors, for the requests of a completion.
RESPONSES: dict[str, Rule] = {
    **{name: FAULTS[name] for name in ("500", "503", "403", "page 200", "broken")},
    "507": storage_proxies.status(507, "InsufficientStorage"),
    "200 with an error": storage_proxies.status(200, "InternalError"),
    "lost": storage_proxies.lost,
    "midway": storage_proxies.midway,
}
# Scenarios whose requests do not use storage.
WITHOUT_A_STORE = {
    "trash_one_file", "restore_one_file", "restore_previous_version", "move_files_to_folder",
    "move_folder_into_another",
}  # fmt: skip
NAMES = sorted(SCENARIOS.keys() - WITHOUT_A_STORE)


@pytest.fixture(autouse=True)
def short_timeouts(settings: Settings, no_backoff: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app has short timeouts and retries without a pause."""
    for name in ("READ_SECONDS", "BATCH_READ_SECONDS", "BULK_READ_SECONDS"):
        monkeypatch.setattr(s3_client, name, READ_SECONDS)
    monkeypatch.setattr(s3_listing, "BATCH_READ_SECONDS", READ_SECONDS)
    for name in ("TIMEOUT", "QUICK"):
        monkeypatch.setattr(s3_streams, name, urllib3.Timeout(connect=s3_client.CONNECT_SECONDS, read=READ_SECONDS))
    for module in (s3_streams, s3_listing):
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    monkeypatch.setitem(cast(dict[str, Any], s3_client.config.__kwdefaults__), "read_seconds", READ_SECONDS)
    settings.UPLOAD_PART_BYTES = PART_BYTES


class FailingStorageRunner:
    """Run an action while storage fails at one operation. If it could not run, return None."""

    def __init__(self, fallback: InProcess, proxy: StorageProxy, operation: str, fault: Rule) -> None:
        self.fallback = fallback
        self.proxy = proxy
        self.operation = operation
        self.fault = fault
        self.calls: Counter[str] = Counter()  # in one action, per URL path

    def do(self, act: HttpAction | CommandAction) -> Result | None:
        self.calls.clear()
        self.proxy.rules[self.operation] = self._respond
        result = self.fallback.do(act)
        self.proxy.rules.clear()
        failed = result.status_code in ((1, 2) if isinstance(act, CommandAction) else (503,))
        assert failed or result.status_code < 500, result.content
        assert max(self.calls.values(), default=0) <= MAX_ATTEMPTS, self.calls
        return None if failed else result

    def _respond(self, request: Request) -> Response | None:
        if request.is_signed_url:
            return request.forward()
        self.calls[urlsplit(request.url).path] += 1
        return self.fault(request)


def play(name: str, runner: Any, fallback: InProcess, bucket: Bucket) -> None:
    scenarios.run(name, Harness(runner, fallback, bucket, part_bytes=PART_BYTES))


def healthy(name: str, storage_proxy: StorageProxy, fallback: InProcess, bucket: Bucket) -> list[str]:
    """Run the scenario without errors and return its storage operations."""
    storage_proxy.seen.clear()
    play(name, fallback, fallback, bucket)
    return list(dict.fromkeys(storage_proxy.seen))


@pytest.mark.parametrize("fault", RESPONSES)
@pytest.mark.parametrize("name", NAMES)
def test_no_storage_response_loses_files(
    name: str, fault: str, alice: User, bucket: Bucket, neighbour: None, storage_proxy: StorageProxy
) -> None:
    fallback = InProcess(session_cookies(alice))
    for operation in healthy(name, storage_proxy, fallback, bucket):
        try:
            play(name, FailingStorageRunner(fallback, storage_proxy, operation, RESPONSES[fault]), fallback, bucket)
        except BaseException as problem:
            problem.add_note(f"storage answered {operation} with {fault}")
            raise


@pytest.mark.parametrize("name", NAMES)
def test_unresponsive_storage_loses_no_files(
    name: str, alice: User, bucket: Bucket, neighbour: None, storage_proxy: StorageProxy
) -> None:
    fallback = InProcess(session_cookies(alice))
    for operation in [*healthy(name, storage_proxy, fallback, bucket), "*"]:
        play(name, FailingStorageRunner(fallback, storage_proxy, operation, storage_proxy.hang), fallback, bucket)
