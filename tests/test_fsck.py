"""fsck finds every difference between bucket and database, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from tests.senders import Sender, sha256
from tests.shelf import add_file
from tests.stores import Bucket
from uploads import s3
from uploads.models import (
    Basis, File, Finding, Heartbeat, Installation, Look, Origin, Outcome, Preview, PreviewState, Report, State, Trouble,
)  # fmt: skip
from uploads.services.fsck import compare, objects, rows

LONG_AGO = timedelta(days=2)


@pytest.fixture
def marked(bucket: Bucket) -> Bucket:
    """The bucket of this run, and it is ours."""
    s3.write_marker(Installation.objects.own_id())
    return bucket


def run(*args: str, grace: float = 0) -> tuple[int, str]:
    """Exit status and what was written."""
    out = io.StringIO()
    try:
        call_command("fsck", f"--grace={grace}", *args, stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def found() -> list[tuple[str, str]]:
    """Trouble and key of the last report's findings."""
    report = Report.objects.filter(command="fsck").first()
    assert report is not None
    return sorted(report.findings.values_list("trouble", "key"))


def stored(owner: User, bucket: Bucket, body: bytes = b"hello", **facts: Any) -> File:
    """A file whose object is as its row says, both there for long."""
    file = add_file(owner, body, bucket=bucket, **facts)
    item = s3.head(file.key)
    assert item is not None
    File.objects.filter(pk=file.pk).update(etag=item.etag, updated_at=timezone.now() - LONG_AGO)
    file.refresh_from_db()
    return file


def key(number: int) -> str:
    return f"f/{number:032x}"


def test_what_agrees_is_proved_by_equal_digests(alice: User, marked: Bucket) -> None:
    files = [stored(alice, marked, body) for body in (b"", b"a", b"bb", b"ccc")]
    code, out = run()
    assert code == 0
    assert "Bucket and database agree." in out
    lines = "".join(sorted(f"{file.key}\t{file.size}\t{file.etag}\n" for file in files))
    assert out.count(hashlib.sha256(lines.encode()).hexdigest()) == 2
    assert Report.objects.get().summary["rows"] == Report.objects.get().summary["objects"]
    assert Heartbeat.objects.last_of("fsck") is not None


def test_missing_objects_are_told_and_their_rows_kept(alice: User, marked: Bucket) -> None:
    files = [stored(alice, marked, bytes([number])) for number in range(9)]
    for file in files[:3]:
        marked.delete(file.key)
    before = list(File.objects.order_by("pk").values())
    code, out = run()
    assert code == 1
    assert found() == sorted((Trouble.MISSING, file.key) for file in files[:3])
    assert list(File.objects.order_by("pk").values()) == before
    assert all(str(file.pk) in out for file in files[:3])


def test_objects_without_a_file_are_told(alice: User, marked: Bucket) -> None:
    stored(alice, marked)
    for name in (key(1), "p/" + "2" * 32, "f/what is this"):
        marked.write(name, b"x")
    assert run()[0] == 1
    assert found() == [("foreign", "f/what is this"), ("orphan", key(1)), ("orphan", "p/" + "2" * 32)]


def test_what_is_young_is_left_alone(alice: User, marked: Bucket) -> None:
    stored(alice, marked)
    marked.write(key(1), b"x")
    add_file(alice, b"no object")
    assert run(grace=3600)[0] == 0
    assert Report.objects.get().summary["left"] == {"young": 2}
    assert run()[0] == 1


def test_other_bytes_of_the_same_size_are_told_by_their_etag(alice: User, marked: Bucket) -> None:
    file, longer = stored(alice, marked, b"hello"), stored(alice, marked, b"hello")
    marked.write(file.key, b"jello")
    marked.write(longer.key, b"hello, world")
    assert run()[0] == 1
    assert found() == sorted([("etag", file.key), ("size", longer.key)])
    detail = Finding.objects.get(trouble="etag").detail
    assert detail["row"]["etag"] == file.etag != detail["object"]["etag"]


def test_the_digests_differ_exactly_by_what_was_found(alice: User, marked: Bucket) -> None:
    kept, gone = stored(alice, marked), stored(alice, marked)
    marked.delete(gone.key)
    run()
    told = Report.objects.get().summary
    line = {file.key: f"{file.key}\t{file.size}\t{file.etag}\n" for file in (kept, gone)}
    assert told["objects"]["sha256"] == hashlib.sha256(line[kept.key].encode()).hexdigest()
    assert told["rows"]["sha256"] == hashlib.sha256("".join(line[key] for key in sorted(line)).encode()).hexdigest()


@pytest.mark.parametrize("block", [1, 2, 7, 1000])
def test_blocks_of_any_size_give_the_same(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    files = [stored(alice, marked, bytes([number])) for number in range(20)]
    for file in files[::5]:
        marked.delete(file.key)
    for number in range(3):
        marked.write(key(number), b"x")
    marked.write("f/" + "f" * 32, b"last")
    run()
    expected, figures = found(), Report.objects.first()
    monkeypatch.setattr("uploads.services.fsck.rows.block.__kwdefaults__", {"most": block})
    monkeypatch.setattr("uploads.s3.listing.PAGE_KEYS", max(1, block - 1))
    monkeypatch.setattr(objects, "BATCH_PAGES", 1)
    run()
    again = Report.objects.first()
    assert figures and again
    assert found() == expected
    assert [again.summary[side] for side in ("rows", "objects")] == [
        figures.summary[side] for side in ("rows", "objects")
    ]
