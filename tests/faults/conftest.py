"""Processes that may die, for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client

from tests.faults.processes import ForkServer
from tests.support import stores
from tests.support.upload_client import UploadClient
from uploads.services import orphaned_multiparts
from uploads.services.bucket_guard import ensure_marker

PART_BYTES = 10  # smaller than a store out there would take


@pytest.fixture(scope="session")
def fork_server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Amalga over the test database and the store of this run."""
    server = ForkServer(tmp_path_factory.mktemp("fork-server") / "log", {}, UPLOAD_PART_BYTES=PART_BYTES)
    yield server
    server.close()


@pytest.fixture(scope="session")
def digest_fork_server(
    django_db_setup: None, digest_store: stores.Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    """As `fork_server`, over the store that verifies digests."""
    log = tmp_path_factory.mktemp("digest-fork-server") / "log"
    server = ForkServer(log, digest_store.variables(), UPLOAD_PART_BYTES=5 * 1024**2)
    yield server
    server.close()


@pytest.fixture
def neighbour(as_bob: Client, bucket: stores.Bucket, owned: None) -> None:
    """One file of somebody else's, that nobody touches: the embedded store takes an empty folder away with its
    last object, and then knows nothing more of the uploads that were under way in it."""
    UploadClient(as_bob).send(b"neighbour")


@pytest.fixture
def owned(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket says that it is ours, and the sweep takes an upload in parts for forgotten at once: nobody can make
    the store's own clock go on."""
    ensure_marker()
    monkeypatch.setattr(orphaned_multiparts, "GRACE", timedelta(seconds=-5))
