"""Moving from one store to another: every file is there at any time, with its bytes, and ends in the new store."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from tests import shelf
from tests.senders import Sender, composite, cut, web
from tests.stores import Address, Bucket
from tests.two_stores import TwoStores, second_bucket
from uploads import s3, services
from uploads.models import Basis, File, Origin, Preview, PreviewState, State

PART = 5 * 1024**2
WAYS = ["one endpoint", "to digests", "from digests", "digests, one endpoint"]


@pytest.fixture
def two(
    request: pytest.FixtureRequest, bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TwoStores]:
    """From one bucket to another at the same endpoint, unless told otherwise."""
    way = getattr(request, "param", "one endpoint")
    if way == "one endpoint":
        first, second = bucket, second_bucket(bucket.address)
    else:
        digests = Bucket(request.getfixturevalue("digest_store"))
        digests.empty()
        first, second = {
            "to digests": (bucket, digests),
            "from digests": (digests, bucket),
            "digests, one endpoint": (digests, second_bucket(digests.address)),
        }[way]
    stores = TwoStores(first, second, settings, monkeypatch)
    stores.before()
    yield stores
    monkeypatch.undo()
    s3.reset()


@pytest.fixture
def sender(as_alice: Client, two: TwoStores, settings: Settings) -> Sender:
    settings.UPLOAD_PART_BYTES = PART
    return Sender(as_alice)


def run(*args: str) -> tuple[int, dict[str, Any]]:
    """Exit status and what the JSON says."""
    out = io.StringIO()
    try:
        call_command("move_store", "--json", *args, stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return error.returncode, json.loads(out.getvalue() or "{}")
    return 0, json.loads(out.getvalue())


def downloaded(client: Client, file: File) -> bytes:
    answer = client.get(f"/files/{file.link}/download")
    assert answer.status_code == 302, answer.content
    got = web.request("GET", answer["Location"])
    assert got.status == 200, got.data
    return got.data


BODIES = {"empty": b"", "small": b"hello", "parts": shelf.some_bytes(2 * PART + 7), "exact": shelf.some_bytes(2 * PART)}


@pytest.mark.parametrize("two", WAYS, indirect=True)
def test_every_file_ends_in_the_new_store_with_its_bytes_and_its_checksum(
    sender: Sender, as_alice: Client, two: TwoStores
) -> None:
    files = {name: sender.send(body, name=f"{name}.bin") for name, body in BODIES.items()}
    two.swap()
    assert run("--apply")[0] == 0
    two.alone()
    for name, body in BODIES.items():
        file = File.objects.get(pk=files[name].pk)
        assert (file.store, file.checksum, file.size) == ("new", composite(cut(body, PART)), len(body))
        assert file.checksum_basis == (Basis.STORE if s3.keeps_digests() else Basis.CLAIMED)
        assert two.second.client.head_object(Bucket=two.second.name, Key=file.key)["ETag"].strip('"') == file.etag
        assert downloaded(as_alice, file) == body
        assert services.verify(file) == Basis.READ


@pytest.mark.parametrize("two", ["one endpoint", "digests, one endpoint"], indirect=True)
def test_at_one_endpoint_the_store_copies_by_itself(
    sender: Sender, two: TwoStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.send(b"hello")
    two.swap()
    monkeypatch.setattr(s3, "stream", lambda *_, **__: pytest.fail("it was read"))
    assert run("--apply")[0] == 0


def test_a_dry_run_counts_and_writes_nothing(sender: Sender, two: TwoStores) -> None:
    sender.send(b"hello")
    two.swap()
    before, there = shelf.whole_database(), two.second.objects()
    code, told = run()
    assert (code, told["files"], told["bytes"], told["applied"]) == (1, 1, 5, False)
    assert (shelf.whole_database(), two.second.objects()) == (before, there)


def test_nothing_to_move_is_done(two: TwoStores, db: None) -> None:
    two.swap()
    assert run()[0] == 0
    assert run("--apply")[0] == 0


def test_files_can_be_read_in_both_stores_all_the_time(sender: Sender, as_alice: Client, two: TwoStores) -> None:
    old = sender.send(b"before")
    two.swap()
    new = sender.send(b"after")
    assert (old.store, new.store) == ("", "new")
    assert (downloaded(as_alice, old), downloaded(as_alice, new)) == (b"before", b"after")
    assert new.key in two.second.objects()
    assert new.key not in two.first.objects()


def test_an_upload_under_way_ends_where_it_began_and_is_moved_by_the_next_run(
    sender: Sender, as_alice: Client, two: TwoStores
) -> None:
    body = shelf.some_bytes(PART + 1)
    upload = sender.start(body)
    sender.put(upload, 1)
    two.swap()
    assert run("--apply")[1]["left"]["under_way"] == 1
    sender.put(upload, 2)
    file = sender.finished(upload)
    assert (file.store, downloaded(as_alice, file)) == ("", body)
    assert run("--apply")[0] == 0
    assert downloaded(as_alice, File.objects.get()) == body


def test_previews_move_too(sender: Sender, as_alice: Client, two: TwoStores) -> None:
    file = sender.send(b"some words", name="a.txt")
    services.make_previews(file)
    two.swap()
    assert run("--apply")[0] == 0
    preview = Preview.objects.get()
    assert (preview.store, preview.state) == ("new", PreviewState.READY)
    answer = as_alice.get(f"/files/{file.link}/preview")
    assert web.request("GET", answer["Location"]).data == b"some words"


def test_a_preview_whose_object_is_gone_is_made_anew(sender: Sender, two: TwoStores) -> None:
    file = sender.send(b"some words", name="a.txt")
    services.make_previews(file)
    two.first.delete(Preview.objects.get().key)
    two.swap()
    assert run("--apply")[0] == 0
    assert services.make_previews(file)
    preview = Preview.objects.get()
    assert (preview.store, preview.state) == ("new", PreviewState.READY)


@pytest.mark.parametrize("two", ["one endpoint", "to digests"], indirect=True)
def test_what_is_damaged_stays_and_is_told(sender: Sender, two: TwoStores) -> None:
    file = sender.send(b"hello")
    two.first.write(file.key, b"hullo")
    two.swap()
    assert run("--apply")[1]["damaged"] == 1
    file.refresh_from_db()
    assert (file.store, file.checksum_basis) == ("", Basis.DAMAGED)
    assert file.key not in two.second.objects()


def test_what_is_damaged_moves_as_it_is_when_told(sender: Sender, two: TwoStores) -> None:
    damaged, missing = sender.send(b"hello"), sender.send(b"missing")
    two.first.write(damaged.key, b"hullo")
    two.first.delete(missing.key)
    File.objects.filter(pk=damaged.pk).update(checksum_basis=Basis.DAMAGED)
    two.swap()
    assert run("--apply")[0] == 1
    assert run("--apply", "--damaged")[0] == 0
    for file, basis in ((damaged, Basis.DAMAGED), (missing, Basis.MISSING)):
        file.refresh_from_db()
        assert (file.store, file.checksum_basis) == ("new", basis)
    assert two.second.read(damaged.key) == b"hullo"
    assert missing.key not in two.second.objects()


def test_the_trash_moves_too_and_can_be_restored(
    sender: Sender, alice: User, as_alice: Client, two: TwoStores
) -> None:
    file = sender.send(b"hello")
    services.trash(file, by=alice)
    two.swap()
    assert run("--apply")[0] == 0
    two.alone()
    file.refresh_from_db()
    services.restore(file, by=alice)
    assert downloaded(as_alice, file) == b"hello"
