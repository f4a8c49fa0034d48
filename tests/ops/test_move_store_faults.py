"""Moves over a network that drops connections, loses responses and flips bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django import Settings

from tests.support import factories, storage_proxies
from tests.support.storage_proxies import Request, Response, StorageProxy
from tests.support.stores import Bucket
from tests.support.two_stores import TwoStores, run_move_store, second_bucket, two_stores
from tests.support.upload_client import UploadClient
from uploads.models import File
from uploads.s3 import streams

BODY = factories.binary_content(3 * 1024**2)
PART = 1024**2

ProxiedStores = tuple[TwoStores, StorageProxy, StorageProxy]  # with a proxy in front of each


@pytest.fixture
def no_pauses(no_backoff: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait, neither those of boto3 nor ours."""
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0)


@pytest.fixture
def proxied_stores(
    bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> Iterator[ProxiedStores]:
    """Both stores, each behind its own proxy."""
    settings.UPLOAD_PART_BYTES = PART
    second = second_bucket(bucket.address)
    with (
        storage_proxies.run_storage_proxy(bucket.address.endpoint) as source,
        storage_proxies.run_storage_proxy(bucket.address.endpoint) as target,
    ):
        first = Bucket(dataclasses.replace(bucket.address, endpoint=source.url))
        second = Bucket(dataclasses.replace(second.address, endpoint=target.url))
        source.rules["head"] = target.rules["head"] = whole_length
        with two_stores(first, second, settings, monkeypatch) as both:
            yield both, source, target


def whole_length(request: Request) -> Response:
    """A proxy sends no Content-Length without a body."""
    response = request.forward()
    return dataclasses.replace(response, announced=int(response.headers.get("Content-Length") or 0) or None)


@pytest.fixture
def file(as_alice: Client, proxied_stores: ProxiedStores) -> File:
    file = UploadClient(as_alice).send(BODY)
    proxied_stores[0].swap()
    return file


def is_moved(file: File, stores: TwoStores) -> bool:
    file.refresh_from_db()
    is_whole = file.store == "new" and stores.second.read(file.key) == BODY
    assert is_whole or (file.store == "" and file.lease_until is None)
    assert stores.second.multipart_uploads() == []
    return is_whole


def test_download_resumes_where_the_connection_broke(file: File, proxied_stores: ProxiedStores) -> None:
    stores, source, _target = proxied_stores
    breaks = iter([True, True])
    source.rules["get"] = lambda request: (
        storage_proxies.midway(request) if file.key in request.url and next(breaks, False) else request.forward()
    )
    assert run_move_store("--apply")[0] == 0
    assert is_moved(file, stores)
    assert not next(breaks, False)


@pytest.mark.parametrize("fault", ["503", "broken"])
def test_a_part_that_fails_once_is_sent_again(file: File, proxied_stores: ProxiedStores, fault: str) -> None:
    stores, _source, target = proxied_stores
    calls = iter(range(100))
    rule = storage_proxies.FAULTS[fault]
    target.rules["part"] = lambda request: rule(request) if next(calls) == 1 else request.forward()
    assert run_move_store("--apply")[0] == 0
    assert is_moved(file, stores)


def test_flipped_bit_is_rejected_by_storage_and_the_file_is_not_moved(
    file: File, proxied_stores: ProxiedStores
) -> None:
    stores, _source, target = proxied_stores

    def flip(request: Request) -> Response:
        return dataclasses.replace(request, body=bytes([request.body[0] ^ 1]) + request.body[1:]).forward()

    target.rules["part"] = flip
    assert run_move_store("--apply")[0] == 1
    assert not is_moved(file, stores)
    del target.rules["part"]
    assert run_move_store("--apply")[0] == 0
    assert is_moved(file, stores)


def test_lost_response_of_copy_loses_nothing(file: File, proxied_stores: ProxiedStores) -> None:
    stores, _source, target = proxied_stores
    target.rules["complete"] = storage_proxies.lost
    assert run_move_store("--apply")[0] in {0, 1}
    is_moved(file, stores)
    del target.rules["complete"]
    assert run_move_store("--apply")[0] == 0
    assert is_moved(file, stores)


def test_file_with_a_wrong_copy_is_not_moved(file: File, proxied_stores: ProxiedStores) -> None:
    stores, _source, target = proxied_stores

    def short(request: Request) -> Response:
        return dataclasses.replace(request.forward(), announced=7)

    target.rules["head"] = short
    assert run_move_store("--apply")[0] == 1
    assert not is_moved(file, stores)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("InvalidObjectState", "archived"), ("KMS.DisabledException", "encrypted"), ("AccessDenied", "denied")],
)  # fmt: skip
def test_object_that_cannot_be_read_stays_and_others_move(
    as_alice: Client, proxied_stores: ProxiedStores, code: str, outcome: str
) -> None:
    stores, source, _target = proxied_stores
    refused, other = UploadClient(as_alice).send(BODY), UploadClient(as_alice).send(BODY)
    stores.swap()
    deny = storage_proxies.status(403, code)
    source.rules["get"] = lambda request: deny(request) if refused.key in request.url else request.forward()
    status, summary = run_move_store("--apply")
    assert status == 1
    assert (summary[outcome], summary["moved"], summary.get("failed", 0)) == (1, 1, 0)
    assert is_moved(other, stores)
    refused.refresh_from_db()
    assert (refused.store, refused.refusal) == ("", outcome)
