"""Moves during downloads, during another run, and with crashes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from pytest_django import Settings

from tests.conftest import PROJECT, signed_in
from tests.support.stores import Bucket
from tests.support.two_stores import TwoStores, second_bucket, two_stores
from tests.support.upload_client import UploadClient, web
from uploads.models import File
from uploads.services.move_store import Mover, rows

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes

# Exits before or after the given call of a function; its leases expire after a second.
DYING = """
import importlib, os, sys
import django
django.setup()
from django.core.management import call_command
from uploads.services.move_store import rows
module, name, when, calls = sys.argv[1:5]
rows.LEASE_SECONDS = 1
there = importlib.import_module(module)
real, left = getattr(there, name), [int(calls)]
def dying(*args, **more):
    left[0] -= 1
    if left[0] == 0 and when == "before":
        os._exit(137)
    done = real(*args, **more)
    if left[0] == 0:
        os._exit(137)
    return done
setattr(there, name, dying)
call_command("move_store", "--apply", "--parallel", "1")
"""
RUN = "uploads.services.move_store"
POINTS = {
    "claimed": (RUN, "copy_object", "before", 1),
    "between two parts": ("uploads.s3", "put_part", "after", 2),
    "all parts sent": ("uploads.s3", "complete_multipart", "before", 1),
    "copied": ("uploads.s3", "complete_multipart", "after", 1),
    "verified": (RUN, "repoint_file", "before", 1),
    "switched": (RUN, "repoint_file", "after", 1),
    "the second file": (RUN, "repoint_file", "before", 2),
}

SHORT = "between two parts"


@pytest.fixture
def stores(bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoStores]:
    settings.UPLOAD_PART_BYTES = 10
    monkeypatch.setattr(rows, "LEASE_SECONDS", 5)
    with two_stores(bucket, second_bucket(bucket.address), settings, monkeypatch) as both:
        yield both


@pytest.fixture
def upload_client(alice: User, stores: TwoStores) -> UploadClient:
    return UploadClient(signed_in(alice))


def run_until_killed(stores: TwoStores, point: tuple[str, str, str, int]) -> int:
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    env = {**os.environ, **stores.variables(), "DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "amalga.settings"}
    command = [sys.executable, "-c", DYING, *map(str, point)]
    return subprocess.run(command, cwd=PROJECT, env=env, timeout=60, check=False).returncode


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point == SHORT else pytest.mark.faults) for point in POINTS]
)
def test_move_killed_at_any_point_is_completed_by_the_next_run(
    upload_client: UploadClient, alice: User, stores: TwoStores, point: str
) -> None:
    files = [upload_client.send(BODY), upload_client.send(BODY[::-1])]
    stores.swap()
    assert run_until_killed(stores, POINTS[point]) == 137
    for file, body in zip(files, (BODY, BODY[::-1]), strict=True):
        assert downloaded(alice, file) == body
    assert {moved.outcome for moved in Mover().run()} <= {"moved"}
    stores.alone()
    for file, body in zip(files, (BODY, BODY[::-1]), strict=True):
        file.refresh_from_db()
        assert (file.store, file.lease_until, downloaded(alice, file)) == ("new", None, body)
    assert stores.second.multipart_uploads() == []
    assert set(stores.second.objects()) - {"amalga.json"} == {file.key for file in files}


def downloaded(user: User, file: File) -> bytes:
    redirect = signed_in(user).get(f"/files/{file.permanent_id}/download")
    response = web.request("GET", redirect["Location"])
    assert response.status == 200, response.data
    return response.data


def test_downloads_never_fail_while_files_move(upload_client: UploadClient, alice: User, stores: TwoStores) -> None:
    files = {upload_client.send(body).pk: body for body in (b"%d" % n + BODY for n in range(12))}
    stores.swap()
    finished, errors, counts = threading.Event(), [], Counter[str]()

    def read() -> None:
        client = signed_in(alice)
        try:
            while not finished.is_set():
                for pk, body in files.items():
                    response = web.request("GET", client.get(f"/files/{pk}/download")["Location"])
                    counts["right" if (response.status, response.data) == (200, body) else "wrong"] += 1
        except Exception as fault:
            errors.append(fault)
        finally:
            connections.close_all()

    reader = threading.Thread(target=read)
    reader.start()
    for _ in Mover(parallel=1).run():
        before = counts["right"]
        while reader.is_alive() and counts["right"] < before + 3:
            time.sleep(0.01)
    finished.set()
    reader.join()
    assert (errors, counts["wrong"], File.objects.filter(store="new").count()) == ([], 0, 12)
    assert counts["right"] >= 36


@pytest.mark.faults
def test_concurrent_runs_move_each_file_once(upload_client: UploadClient, alice: User, stores: TwoStores) -> None:
    files = {upload_client.send(body).pk: body for body in (b"%d" % n + BODY for n in range(16))}
    stores.swap()
    moved: list[Counter[str]] = []

    def run() -> None:
        try:
            moved.append(Counter(thread.outcome for thread in Mover(parallel=2).run()))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert moved[0] + moved[1] == Counter(moved=16)
    for file in File.objects.all():
        assert (file.store, downloaded(alice, file)) == ("new", files[file.pk])
