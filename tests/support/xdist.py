"""Parallel pytest processes (pytest-xdist): each has its own bucket, just as pytest-django gives each its own
database. A pytest plugin, because the bucket must be set before Django reads its settings."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import psycopg
from botocore.config import Config

from amalga.local.embedded import Store, keep_folders
from amalga.local.postgres import MARK
from amalga.local.server import THROWAWAY_BUCKET

WORKER = os.environ.get("PYTEST_XDIST_WORKER")


def own_bucket() -> str:
    return f"{THROWAWAY_BUCKET}-{WORKER}" if WORKER else THROWAWAY_BUCKET


@contextmanager
def once(name: str, temp_folder: Path) -> Iterator[bool]:
    """Yield whether this process must run the block; the other processes wait until it is done.

    `temp_folder` is pytest's own of this process; its parent belongs to all processes of the run.
    """
    if not WORKER:
        yield True
        return
    with (temp_folder.parent / name).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.tell() == 0
        file.write("done")


def _store_folder() -> Path:
    """Return the folder of the embedded storage, which is beside that of Postgres."""
    with psycopg.connect(os.environ["LOCAL_SUPERUSER_URL"]) as connection:
        row = connection.execute(f"SHOW {MARK}").fetchone()
    assert row
    return Path(row[0]).parents[1] / Store.name


if WORKER and os.environ.get("AWS_STORAGE_BUCKET_NAME") == THROWAWAY_BUCKET:
    os.environ["AWS_STORAGE_BUCKET_NAME"] = own_bucket()
    store = boto3.client(
        "s3",
        endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"],
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )
    store.create_bucket(Bucket=own_bucket())
    keep_folders(_store_folder() / own_bucket())
