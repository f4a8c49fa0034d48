"""What a file takes of Postgres: bytes at rest, and bytes of the write-ahead log and time on its way in.

`make bench-scale` makes a library of a hundred thousand files in the embedded Postgres and takes files into it in
batches, as the protocol does, without the store. docs/operate/capacity.md reckons with the results.
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

from bench.table import keep

BATCHES = {100: 20, 1: 200}  # files a call, calls
TABLES = ("uploads_file", "uploads_event", "uploads_preview", "uploads_tagging", "uploads_folder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    options = parser.parse_args()
    made = [sys.executable, "-m", "bench.library_make", str(options.files)]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    import django

    django.setup()
    rows = [_at_rest(table, options.files) for table in TABLES]
    rows += [_on_its_way(files, calls) for files, calls in BATCHES.items()]
    total = sum(row["bytes_a_file"] for row in rows if "bytes_a_file" in row)
    notes = [
        f"{options.files:,} files; all tables together: {total:.0f} bytes a file at rest, indexes included.",
        "wal_bytes, ms: of one file, from its start to its publication, as Postgres and its caller see it.",
    ]
    print(keep("scale", rows, notes))


def _at_rest(table: str, files: int) -> dict[str, Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        sizes = "SELECT pg_table_size(oid), pg_indexes_size(oid), reltuples FROM pg_class WHERE oid = %s::regclass"
        cursor.execute(sizes, [table])
        heap, indexes, count = cursor.fetchone()
    whole = heap + indexes
    return {"case": table, "rows": int(count), "bytes_a_file": whole / files, "of_it_indexes": indexes / files}


def _on_its_way(files: int, calls: int) -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.db import connection

    owner = User.objects.get(username="bench-member")
    _take_in(owner, files)
    with psycopg.connect(os.environ["LOCAL_SUPERUSER_URL"], autocommit=True) as superuser:
        superuser.execute("CHECKPOINT")
    with connection.cursor() as cursor:
        before, begun = _wal(cursor), time.perf_counter()
        for _call in range(calls):
            _take_in(owner, files)
        ms = (time.perf_counter() - begun) * 1000 / files / calls
        return {"case": f"upload, {files} a call", "rows": files * calls,
                "wal_bytes": (_wal(cursor) - before) / files / calls, "ms": ms}  # fmt: skip


def _wal(cursor: Any) -> int:
    cursor.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    return int(cursor.fetchone()[0])


def _take_in(owner: Any, files: int) -> None:
    from uploads import services
    from uploads.models import Category, ChecksumStatus, File, ObjectMetadata, publish
    from uploads.services.start import NewUpload

    digest = "A" * 43 + "="
    new = [NewUpload(token=uuid.uuid4(), name=f"invoice {n:03}.pdf", size=10_240, sha256=digest) for n in range(files)]
    started: Any = services.start(owner, new)
    ids = [answer.file.pk for answer in started]
    File.objects.filter(pk__in=ids).acquire_lease()
    publish(
        {pk: ObjectMetadata("0" * 32, digest, ChecksumStatus.UNVERIFIED, "application/pdf", Category.PDF) for pk in ids}
    )


if __name__ == "__main__":
    main()
