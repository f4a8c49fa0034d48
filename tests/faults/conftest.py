"""Processes that can crash, for all tests in this folder."""

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

PART_BYTES = 10  # smaller than real storage accepts


@pytest.fixture(scope="session")
def fork_server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """A fork server with the test database and the storage of this run."""
    server = ForkServer(tmp_path_factory.mktemp("fork-server") / "log", {}, UPLOAD_PART_BYTES=PART_BYTES)
    yield server
    server.close()


@pytest.fixture(scope="session")
def digest_fork_server(
    django_db_setup: None, digest_store: stores.Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    """Like `fork_server`, with the storage that verifies checksums."""
    log = tmp_path_factory.mktemp("digest-fork-server") / "log"
    server = ForkServer(log, digest_store.variables(), UPLOAD_PART_BYTES=5 * 1024**2)
    yield server
    server.close()


@pytest.fixture
def neighbour(as_bob: Client, bucket: stores.Bucket, owned: None) -> None:
    """An untouched file of another user: with the last object of a folder, the embedded storage also deletes
    the folder and its multipart uploads."""
    UploadClient(as_bob).send(b"neighbour")


@pytest.fixture
def owned(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket has our marker, and multipart uploads have no grace period, because tests cannot advance
    the clock of the storage."""
    ensure_marker()
    monkeypatch.setattr(orphaned_multiparts, "GRACE", timedelta(seconds=-5))
