"""Random steps over real storage: after user actions, crashes, faults and sweeps, bucket and rows agree.

R1: available and trashed files have their object, with the row's size, ETag and bytes; R2 and R4: each object
has a row; files that were reported as stored are never lost; usage is the sum of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import cast

import hypothesis
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from pytest_django import Settings

from tests.faults import harness
from tests.faults.actions import CommandAction
from tests.faults.processes import ForkedRunner, ForkServer
from tests.support import storage_proxies
from tests.support.state_machine import (
    LONG_AGO,
    PART_BYTES,
    QUOTA_BYTES,
    QUOTA_FILES,
    FileStateMachine,
    TrackedUpload,
    World,
)
from tests.support.storage_proxies import FAULTS, StorageProxy
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.verification import verify_file
from uploads.models import File, State
from uploads.services import orphaned_multiparts
from uploads.services.sweep import sweep

pytestmark = pytest.mark.slow

FINISHING = ["finish.1-leasing", "finish.2-leased", "finish.3-listed", "finish.4-completed", "finish.5-inspected",
             "finish.6-publishing", "finish.7-published", "replace.1-published", "replace.2-made-current"]  # fmt: skip
SIGNING = ["sign.1-extended", "sign.3-multipart-begun", "sign.4-multipart-saved"]
CANCELLING = ["cancel.1-discarded", "erase.1-parts-gone", "erase.2-object-gone", "erase.5-row-gone"]
SWEEPING = ["resolve.1-leased", "resolve.2-assembled", "resolve.3-published", "expire.1-discarded",
            "purge.1-discarding", "purge.2-discarded", "erase.1-parts-gone", "erase.2-object-gone",
            "erase.4-previews-gone", "erase.5-row-gone"]  # fmt: skip
RESPONSES = {**FAULTS, "lost": storage_proxies.lost, "midway": storage_proxies.midway}
faults = st.sampled_from(sorted(RESPONSES))


class Storms(FileStateMachine):
    """`FileStateMachine` with passing deadlines, crashing processes and failing storage."""

    # --- time ----------------------------------------------------------------------------------

    @rule(tracked=FileStateMachine.tracked_uploads)
    def expire(self, tracked: TrackedUpload) -> None:
        File.objects.filter(pk=tracked.upload.id, expires_at__isnull=False).update(expires_at=timezone.now())

    @rule(tracked=FileStateMachine.tracked_uploads)
    def expire_urls(self, tracked: TrackedUpload) -> None:
        File.objects.filter(pk=tracked.upload.id).update(signed_until=timezone.now() - LONG_AGO)
        tracked.urls_expired = True

    @rule()
    def expire_leases(self) -> None:
        harness.expire_leases()

    @rule()
    def expire_trash(self) -> None:
        File.objects.filter(state=State.TRASHED).update(purge_after=timezone.now())

    # --- crashes: a separate process dies there --------------------------------------------------

    @rule(tracked=FileStateMachine.tracked_uploads, point=st.sampled_from(FINISHING))
    def crash_while_finishing(self, tracked: TrackedUpload, point: str) -> None:
        response = self._mortal(tracked, point).finish(tracked.upload)
        tracked.reported_stored |= response is not None and response.status_code == 200

    @rule(tracked=FileStateMachine.tracked_uploads, point=st.sampled_from(SIGNING))
    def crash_while_signing(self, tracked: TrackedUpload, point: str) -> None:
        part = {"number": 1, "sha256": tracked.upload.digests[0]}
        response = self._mortal(tracked, point).request_parts(tracked.upload.id, [part])
        if response is not None and response.status_code == 200:
            tracked.upload.signed[1], tracked.urls_expired = response.json()["parts"][0], False

    @rule(tracked=FileStateMachine.tracked_uploads, point=st.sampled_from(CANCELLING))
    def crash_while_cancelling(self, tracked: TrackedUpload, point: str) -> None:
        self._mortal(tracked, point).cancel(tracked.upload)

    @rule(point=st.sampled_from(SWEEPING))
    def crash_while_sweeping(self, point: str) -> None:
        ForkedRunner(self.world.fork_server, self.world.people[0], point).do(CommandAction(("sweep",)))

    def _mortal(self, tracked: TrackedUpload, point: str) -> UploadClient:
        """Every response may be None, because the process crashed before it."""
        runner = ForkedRunner(self.world.fork_server, self.world.people[tracked.person], point)
        return UploadClient(cast(Client, harness.SingleTryClient(runner)))

    # --- storage faults --------------------------------------------------------------------------

    @rule(
        tracked=FileStateMachine.tracked_uploads,
        operation=st.sampled_from(["list", "complete", "get", "*"]),
        fault=faults,
    )
    def finish_despite_fault(self, tracked: TrackedUpload, operation: str, fault: str) -> None:
        self.world.storage_proxy.rules[operation] = RESPONSES[fault]
        response = self._sender(tracked).finish(tracked.upload)
        self.world.storage_proxy.rules.clear()
        assert response.status_code in {200, 202, 404, 409, 410, 503}
        tracked.reported_stored |= response.status_code == 200

    @rule(
        tracked=FileStateMachine.tracked_uploads,
        operation=st.sampled_from(["ids", "abort", "delete", "*"]),
        fault=faults,
    )
    def cancel_despite_fault(self, tracked: TrackedUpload, operation: str, fault: str) -> None:
        self.world.storage_proxy.rules[operation] = RESPONSES[fault]
        response = self._sender(tracked).cancel(tracked.upload)
        self.world.storage_proxy.rules.clear()
        assert response.status_code in {204, 404, 409}

    @rule(operation=st.sampled_from(["list", "complete", "get", "ids", "abort", "delete", "post", "*"]), fault=faults)
    def sweep_despite_fault(self, operation: str, fault: str) -> None:
        self.world.storage_proxy.rules[operation] = RESPONSES[fault]
        sweep()
        self.world.storage_proxy.rules.clear()

    # --- maintenance -----------------------------------------------------------------------------

    @rule()
    def sweep(self) -> None:
        assert sweep()["failed"] == 0

    @rule()
    def sweep_at_once(self) -> None:
        with ThreadPoolExecutor(2) as both:
            assert [counts["failed"] for counts in both.map(lambda _number: sweep_and_leave(), range(2))] == [0, 0]

    @rule(tracked=FileStateMachine.tracked_uploads)
    def verify(self, tracked: TrackedUpload) -> None:
        row = tracked.row()
        if row is not None:
            assert verify_file(row) == ("verified" if row.state == State.AVAILABLE else None)

    def teardown(self) -> None:
        """After all deadlines, two sweeps leave exactly the stored files."""
        acknowledged = {
            tracked.upload.id: tracked.upload.body
            for tracked in self.all
            if tracked.reported_stored and not tracked.removed
        }
        harness.settle(self.world.bucket, acknowledged=acknowledged)


def sweep_and_leave() -> dict[str, int]:
    try:
        return sweep()
    finally:
        connection.close()


@pytest.fixture
def fork_server(django_db_setup: None, tmp_path: Path) -> Iterator[ForkServer]:
    limits = {"UPLOAD_QUOTA_BYTES": QUOTA_BYTES, "UPLOAD_QUOTA_FILES": QUOTA_FILES}
    server = ForkServer(tmp_path / "fork-server.log", {}, UPLOAD_PART_BYTES=PART_BYTES, **limits)
    yield server
    server.close()


@pytest.fixture
def world(
    alice: User, bob: User, charlie: User, as_alice: Client, as_bob: Client, bucket: Bucket, settings: Settings,
    storage_proxy: StorageProxy, no_backoff: None, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch,
) -> World:  # fmt: skip
    settings.UPLOAD_PART_BYTES = PART_BYTES
    settings.UPLOAD_QUOTA_BYTES = QUOTA_BYTES
    settings.UPLOAD_QUOTA_FILES = QUOTA_FILES
    monkeypatch.setattr(orphaned_multiparts, "GRACE", timedelta(seconds=-5))
    return World(
        [alice, bob], [UploadClient(as_alice), UploadClient(as_bob)], bucket, charlie, storage_proxy, fork_server
    )


hypothesis.settings.register_profile("short", max_examples=6, stateful_step_count=20)
hypothesis.settings.register_profile("faults", max_examples=60, stateful_step_count=40)


@pytest.mark.parametrize(
    "profile", ["short", pytest.param("faults", marks=[pytest.mark.faults, pytest.mark.timeout(900)])]
)
@pytest.mark.django_db(transaction=True)
def test_bucket_and_rows_stay_in_sync(profile: str, world: World) -> None:
    machine = type("StormsHere", (Storms,), {"world": world})
    limits = hypothesis.settings(
        hypothesis.settings.get_profile(profile), deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=limits)
