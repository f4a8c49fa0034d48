"""The storages of the tests: that of this run, and one that verifies checksums.

rclone, the storage of `make run`, accepts any checksum. So checksums are tested with LocalStack's S3,
which rejects wrong ones, supports composite checksums and verifies the signed headers of a URL.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import boto3
from botocore.config import Config

from amalga.local.processes import Daemon, free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROJECT = Path(__file__).resolve().parents[2]
DIGEST_PYTHON = PROJECT / ".venv-digest" / "bin" / "python"
START_SECONDS = 60
MARKER = "amalga.json"
CHECKPOINT = "amalga-checkpoint.json"


@dataclass(frozen=True)
class Address:
    """The endpoint, bucket and credentials of a storage; `checksums` is its S3_CHECKSUMS."""

    endpoint: str
    bucket: str
    key: str
    secret: str
    checksums: str
    region: str = "us-east-1"
    conditions: frozenset[str] = frozenset()  # as S3_CONDITIONS

    @classmethod
    def of_this_run(cls) -> Address:
        return cls(
            endpoint=os.environ["AWS_ENDPOINT_URL_S3"],
            bucket=os.environ["AWS_STORAGE_BUCKET_NAME"],
            key=os.environ["AWS_ACCESS_KEY_ID"],
            secret=os.environ["AWS_SECRET_ACCESS_KEY"],
            checksums="off",
        )

    def variables(self) -> dict[str, str]:
        """Return the environment variables of an app that uses this storage."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_STORAGE_BUCKET_NAME": self.bucket,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.region,
            "S3_CHECKSUMS": self.checksums,
            "S3_CONDITIONS": ",".join(self.conditions) or "off",
        }


@cache
def _client(endpoint: str, region: str, key: str, secret: str) -> S3Client:
    """Return one client for all tests of a process, because creating it is slower than most requests."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class Bucket:
    """A bucket, accessed directly instead of through the app."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.name = address.bucket
        self.client = _client(address.endpoint, address.region, address.key, address.secret)

    def objects(self) -> dict[str, int]:
        """Return key and size of all objects except the marker and the checkpoint."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        sizes = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
        for own in (MARKER, CHECKPOINT):
            sizes.pop(own, None)
        return sizes

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def write(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def mark(self, installation: UUID) -> None:
        """Write the marker of an installation."""
        self.write(MARKER, json.dumps({"installation": str(installation)}).encode())

    def unmark(self) -> None:
        self.delete(MARKER)

    def multipart_uploads(self) -> list[tuple[str, str]]:
        """Return key and upload ID of all unfinished multipart uploads."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name)
        try:
            return [(up["Key"], up["UploadId"]) for page in pages for up in page.get("Uploads", [])]
        except self.client.exceptions.NoSuchUpload:
            return []  # rclone's response for a bucket that never had one

    def empty(self) -> None:
        """Delete everything except the marker."""
        for key, upload in self.multipart_uploads():
            self.client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)
        for key in (*self.objects(), CHECKPOINT):  # one by one: DeleteObjects cannot name every key
            self.delete(key)


@contextmanager
def digest_store(folder: Path) -> Iterator[Address]:
    """Run a storage that verifies checksums, with a bucket whose CORS rules allow localhost."""
    if not DIGEST_PYTHON.exists():
        raise RuntimeError("The digest-checking store is not installed: make digest-store")
    address = Address(
        endpoint=f"http://127.0.0.1:{free_port()}",
        bucket="amalga-digests",
        key="test",
        secret="test",
        checksums="sha256",
        conditions=frozenset({"complete"}),
    )
    script = Path(__file__).with_name("digest_store.py")
    daemon = Daemon("digest-store", folder, mark=str(script), stop_signal=signal.SIGTERM)
    daemon.start([str(DIGEST_PYTHON), str(script)], env=_environment(folder, address))
    try:
        _wait(address, daemon)
        _create_bucket(Bucket(address))
        yield address
    finally:
        daemon.stop()


def _environment(folder: Path, address: Address) -> dict[str, str]:
    """Return an isolated environment, with its own folder and without internet access."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "FILESYSTEM_ROOT": str(folder / "filesystem"),
        "GATEWAY_LISTEN": address.endpoint.removeprefix("http://"),
        "SERVICES": "s3",
        "EAGER_SERVICE_LOADING": "1",
        "S3_SKIP_SIGNATURE_VALIDATION": "0",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
    }


def _wait(address: Address, daemon: Daemon) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{address.endpoint}/_localstack/health", timeout=2).close()
            return
        except OSError:
            if daemon.exit_code() is not None or time.monotonic() > end:
                raise RuntimeError(f"The digest store is not up: {daemon.log_tail()}") from None
            time.sleep(0.1)


def _create_bucket(bucket: Bucket) -> None:
    bucket.client.create_bucket(Bucket=bucket.name)
    rule = {
        "AllowedOrigins": ["http://localhost:*"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
    }
    bucket.client.put_bucket_cors(
        Bucket=bucket.name,
        CORSConfiguration={"CORSRules": [rule]},  # type: ignore[list-item]
    )
