"""Measure a file in Postgres: bytes at rest, and write-ahead log and time of its upload.

`make bench-scale` creates a library of a hundred thousand files in the embedded Postgres and adds files to it in
batches, as the protocol does, without storage. docs/operate/capacity.md calculates with the results.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import uuid
from typing import Any

import psycopg

from bench.report import save_results

BATCHES = {100: 20, 1: 200}  # files per call, calls
TABLES = ("uploads_file", "uploads_event", "uploads_preview", "uploads_tagging", "uploads_folder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    options = parser.parse_args()
    command = [sys.executable, "-m", "bench.library_seed", str(options.files)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    import django

    django.setup()
    rows = [_size_at_rest(table, options.files) for table in TABLES]
    rows += [_upload_cost(files, calls) for files, calls in BATCHES.items()]
    table_bytes = sum(row["bytes_per_file"] for row in rows if "bytes_per_file" in row)
    notes = [
        f"{options.files:,} files; all tables together: {table_bytes:.0f} bytes per file at rest, indexes included.",
        "wal_bytes, ms: per file, from its start to its publication, as measured by the client of Postgres.",
    ]
    print(save_results("scale", rows, notes))


def _size_at_rest(table: str, files: int) -> dict[str, Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        sizes = "SELECT pg_table_size(oid), pg_indexes_size(oid), reltuples FROM pg_class WHERE oid = %s::regclass"
        cursor.execute(sizes, [table])
        heap, indexes, count = cursor.fetchone()
    total = heap + indexes
    return {"case": table, "rows": int(count), "bytes_per_file": total / files, "index_bytes_per_file": indexes / files}


def _upload_cost(files: int, calls: int) -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.db import connection

    owner = User.objects.get(username="bench-member")
    _upload(owner, files)
    with psycopg.connect(os.environ["LOCAL_SUPERUSER_URL"], autocommit=True) as superuser:
        superuser.execute("CHECKPOINT")
    with connection.cursor() as cursor:
        before, started = _wal(cursor), time.perf_counter()
        for _call in range(calls):
            _upload(owner, files)
        ms = (time.perf_counter() - started) * 1000 / files / calls
        return {"case": f"upload, {files} per call", "rows": files * calls,
                "wal_bytes": (_wal(cursor) - before) / files / calls, "ms": ms}  # fmt: skip


def _wal(cursor: Any) -> int:
    cursor.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    return int(cursor.fetchone()[0])


def _upload(owner: Any, files: int) -> None:
    from uploads import services
    from uploads.models import Category, ChecksumStatus, File, ObjectMetadata, publish
    from uploads.services.start import NewUpload

    digest = "A" * 43 + "="
    new = [NewUpload(token=uuid.uuid4(), name=f"invoice {n:03}.pdf", size=10_240, sha256=digest) for n in range(files)]
    started: Any = services.start(owner, new)
    ids = [upload.file.pk for upload in started]
    File.objects.filter(pk__in=ids).acquire_lease()
    publish(
        {pk: ObjectMetadata("0" * 32, digest, ChecksumStatus.UNVERIFIED, "application/pdf", Category.PDF) for pk in ids}
    )


if __name__ == "__main__":
    main()
