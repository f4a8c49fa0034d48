"""The harness of the scenarios: a client that repeats unanswered requests, and simulated time."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from django.core.management import CommandError, call_command
from django.test import Client

from tests.faults import invariants
from tests.faults.actions import CommandAction, HttpAction, Result
from tests.faults.processes import Runner
from tests.support.databases import execute
from tests.support.form_client import MULTIPART, Chosen, Form
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient
from uploads.models import File, State
from uploads.services.sweep import sweep

TRIES = 4
AGAIN = {202, 503}
LONG_AGO = "now() - interval '2 hours'"


class RetryingClient:
    """A client that follows the protocol: it repeats requests that got no response or are not done yet.

    It has the methods of Django's test client, so that `UploadClient` can use it. `runner` can crash; afterwards,
    `fallback` runs the actions.
    """

    def __init__(self, runner: Runner, fallback: Runner) -> None:
        self.runner = runner
        self.fallback = fallback
        self.armed = True
        self.died = False

    def get(self, path: str) -> Result:
        return self.do(HttpAction("GET", path))

    def delete(self, path: str) -> Result:
        return self.do(HttpAction("DELETE", path))

    def post(self, path: str, data: object = b"", content_type: str = "application/json") -> Result:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.do(HttpAction("POST", path, body, content_type))

    def do(self, action: HttpAction | CommandAction) -> Result:
        if self.armed and not self.died:
            result = self.runner.do(action)
            if result is not None:
                return result
            self.died = True
        for _try in range(TRIES):
            result = self.fallback.do(action)
            assert result is not None
            if result.status_code not in AGAIN:
                return result
            expire_leases()
        raise AssertionError(f"{action} is never done: {result}")


class SingleTryClient(RetryingClient):
    """A client that never repeats a request: a missing response is None."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner, runner)

    def do(self, action: HttpAction | CommandAction) -> Result:
        return cast(Result, self.runner.do(action))


class Harness:
    """A user, and the files that were reported to them as stored."""

    def __init__(self, runner: Runner, fallback: Runner, bucket: Bucket, *, part_bytes: int) -> None:
        self.client = RetryingClient(runner, fallback)
        self.upload_client = UploadClient(cast(Client, self.client))
        self.bucket = bucket
        self.part_bytes = part_bytes
        self.acknowledged: dict[UUID, bytes] = {}

    def body(self, parts: int = 3, *, letter: bytes = b"a") -> bytes:
        """Return the bytes of so many parts, with a short last one."""
        return letter * (self.part_bytes * (parts - 1)) + b"the end"

    def send(self, body: bytes, **more: Any) -> File:
        upload = self.upload_client.start(body, **more)
        self.upload_client.put(upload)
        return self.finish(upload)[0]

    def finish(self, *uploads: Upload) -> list[File]:
        """Finish, and remember what is reported as stored: that must never be lost."""
        response = self.upload_client.finish(*uploads)
        assert response.status_code == 200, response.content
        for item, upload in zip(response.json()["files"], uploads, strict=True):
            assert item["state"] == State.AVAILABLE, item
            self.acknowledged[UUID(item["id"])] = upload.body
        return [upload.row() for upload in uploads]

    def form(self, *files: Chosen, **fields: str) -> Result:
        """Send the form without JavaScript."""
        return self.client.post("/upload/", Form(files).body(), MULTIPART)

    def click(self, path: str, **fields: object) -> Result:
        """Press a button on a page. Pressed again, it may say that there is nothing left to do."""
        body = urlencode(fields, doseq=True).encode()
        response = self.client.post(path, body, "application/x-www-form-urlencoded")
        assert response.status_code < 500, response.content
        assert response.status_code < 400 or self.client.died, response.content
        return response

    def command(self, *words: str) -> Result:
        return self.client.do(CommandAction(words))

    def stop_faults(self) -> None:
        """From now on no process crashes, and storage does not fail any more."""
        self.client.armed = False

    def row(self, file: File) -> File:
        return File.objects.get(pk=file.pk)

    def forget(self, *files: File) -> None:
        """Do not expect these files any more: they are deleted on purpose."""
        for file in files:
            self.acknowledged.pop(file.pk, None)

    def settle(self) -> None:
        settle(self.bucket, acknowledged=self.acknowledged)


def settle(bucket: Bucket, *, acknowledged: Mapping[UUID, bytes]) -> None:
    """Let time pass, sweep twice, and check the invariants and the result of fsck."""
    expire_everything()
    for _sweep in range(2):
        assert sweep()["failed"] == 0
        expire_everything()
    invariants.assert_invariants(bucket, acknowledged=acknowledged)
    empty = [] if File.objects.exists() else ["--allow-empty-database"]
    output = io.StringIO()
    try:
        call_command("fsck", "--min-age", "0", *empty, stdout=output, stderr=output)
    except CommandError as error:
        raise AssertionError(f"fsck: {error} {output.getvalue()}") from error


def expire_leases() -> None:
    execute(f"UPDATE uploads_file SET lease_until = {LONG_AGO} WHERE state = 'completing'")
    execute(f"UPDATE uploads_file SET retry_at = {LONG_AGO} WHERE retry_at IS NOT NULL")


def expire_everything() -> None:
    """Let all leases, URLs, backoffs and uploads expire, and count the tasks of crashed workers as lost."""
    expire_leases()
    execute(f"UPDATE uploads_file SET signed_until = {LONG_AGO} WHERE signed_until IS NOT NULL")
    execute(f"UPDATE uploads_file SET expires_at = {LONG_AGO} WHERE state = 'uploading'")
    execute(f"UPDATE uploads_file SET retry_at = {LONG_AGO} WHERE retry_at IS NOT NULL")
    execute(f"UPDATE uploads_heartbeat SET at = {LONG_AGO}")
    execute(f"UPDATE uploads_preview SET lease_until = {LONG_AGO} WHERE state = 'pending'")
    execute(f"UPDATE django_tasks_database_dbtaskresult SET started_at = {LONG_AGO} WHERE status = 'RUNNING'")
    tasks = f"UPDATE django_tasks_database_dbtaskresult SET run_after = {LONG_AGO}"
    execute(f"{tasks} WHERE status = 'READY' AND run_after < '9999-01-01'")  # tasks without a delay have that date


def expire_trash() -> None:
    execute(f"UPDATE uploads_file SET purge_after = {LONG_AGO} WHERE state = 'trashed'")
