"""Two storages, as during a move of an installation: the main and the secondary one."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support import factories, xdist
from tests.support.commands import run_command
from tests.support.stores import Address, Bucket
from tests.support.upload_client import web
from uploads import s3
from uploads.models import ChecksumStatus, File, Installation, Origin

PART = 5 * 1024**2  # the smallest part size of S3
SECOND_BUCKET = f"{xdist.own_bucket()}-second"


@dataclass
class TwoStores:
    """`first` has the existing files, and its rows have the name ""; `second` is the destination."""

    first: Bucket
    second: Bucket
    settings: Settings
    monkeypatch: pytest.MonkeyPatch
    names: tuple[str, str] = ("", "new")

    def before(self) -> None:
        """Use the first storage as the main one and the second as the secondary one."""
        self._set(main=self.first, other=self.second)

    def swap(self) -> None:
        """Use the second storage as the main one. Both buckets have the marker of this database."""
        for bucket in (self.second, self.first):
            self._set(main=bucket, other=None)
            s3.write_marker(Installation.objects.own_id())
        self._set(main=self.second, other=self.first)

    def alone(self) -> None:
        """Use only the second storage, as after the move."""
        self._set(main=self.second, other=None)

    def variables(self) -> dict[str, str]:
        """Return the environment variables of a process with the settings after `swap`."""
        other = self.first.address
        return self.second.address.variables() | {
            "S3_STORE_NAME": self.names[1],
            "SECONDARY_S3_STORE_NAME": self.names[0],
            "SECONDARY_S3_BUCKET": other.bucket,
            "SECONDARY_S3_ENDPOINT": other.endpoint,
            "SECONDARY_S3_REGION": other.region,
            "SECONDARY_S3_CHECKSUMS": other.checksums,
            "SECONDARY_S3_CONDITIONS": ",".join(other.conditions) or "off",
            "SECONDARY_S3_ACCESS_KEY_ID": other.key,
            "SECONDARY_S3_SECRET_ACCESS_KEY": other.secret,
        }

    def _set(self, *, main: Bucket, other: Bucket | None) -> None:
        at = main.address
        is_common_password = os.environ["AWS_ACCESS_KEY_ID"] == at.key
        for name, value in at.variables().items():
            self.monkeypatch.setenv(name, value)
        self.settings.S3_STORE_NAME = self._name(main)
        self.settings.S3_BUCKET, self.settings.S3_CHECKSUMS = at.bucket, at.checksums
        self.settings.S3_CONDITIONS = at.conditions
        self.settings.S3_ENDPOINT = self.settings.S3_ORIGIN = at.endpoint
        self.settings.SECONDARY_S3 = None if other is None else self._store_settings(other)
        if not is_common_password:  # a session caches its credentials
            s3.reset()

    def _name(self, bucket: Bucket) -> str:
        return self.names[0] if bucket is self.first else self.names[1]

    def _store_settings(self, bucket: Bucket) -> dict[str, Any]:
        at = bucket.address
        return {
            "name": self._name(bucket),
            "bucket": at.bucket,
            "endpoint": at.endpoint,
            "region": at.region,
            "addressing": "path",
            "checksums": at.checksums,
            "conditions": at.conditions,
            "access_key_id": at.key,
            "secret_access_key": at.secret,
        }


def second_bucket(address: Address) -> Bucket:
    """Return an empty bucket without a marker in the same storage."""
    bucket = Bucket(dataclasses.replace(address, bucket=SECOND_BUCKET))
    if SECOND_BUCKET not in {entry["Name"] for entry in bucket.client.list_buckets()["Buckets"]}:
        bucket.client.create_bucket(Bucket=SECOND_BUCKET)
    bucket.empty()
    bucket.unmark()
    return bucket


@contextmanager
def two_stores(
    first: Bucket, second: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TwoStores]:
    """Yield both storages, with the first as the main one, and reset the clients afterward."""
    stores = TwoStores(first, second, settings, monkeypatch)
    own_key = os.environ["AWS_ACCESS_KEY_ID"]
    stores.before()
    yield stores
    if {first.address.key, second.address.key} != {own_key}:
        s3.reset()


def run_move_store(*args: str) -> tuple[int, dict[str, Any]]:
    """Run move_store, and return its exit status and its JSON summary, with the outcomes among the other values."""
    status, output, _errors = run_command("move_store", "--json", *args)
    summary: dict[str, Any] = json.loads(output or "{}")
    return status, {**summary, **summary.pop("outcomes", {})}


def downloaded(client: Client, file: File) -> bytes:
    redirect = client.get(f"/files/{file.permanent_id}/download")
    assert redirect.status_code == 302, redirect.content
    response = web.request("GET", redirect["Location"])
    assert response.status == 200, response.data
    return response.data


def imported(owner: User, bucket: Bucket, key: str, body: bytes, **facts: Any) -> File:
    """Create a row like `import_bucket`, without a checksum."""
    bucket.write(key, body)
    etag = bucket.client.head_object(Bucket=bucket.name, Key=key)["ETag"].strip('"')
    fields = {
        "origin": Origin.IMPORTED,
        "checksum": "",
        "checksum_status": ChecksumStatus.UNVERIFIED,
        "part_size": PART,
        **facts,
    }
    file = factories.create_file(owner, body, key=key, **fields)
    File.objects.filter(pk=file.pk).update(etag=etag)
    return file
