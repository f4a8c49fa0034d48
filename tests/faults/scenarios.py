"""The scenarios that reach each failpoint: before `yield`, a process that does not crash prepares them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from tests.faults.harness import Harness, expire_everything, expire_trash
from tests.support.form_client import Chosen
from tests.support.pictures import as_file, document, two_halves
from tests.support.upload_client import Upload, composite
from uploads import services
from uploads.models import (
    Action,
    ChecksumStatus,
    Event,
    File,
    Finding,
    Folder,
    Preview,
    PreviewKind,
    PreviewState,
    State,
)

Play = Callable[[Harness], Iterator[None]]

START = ("start.1-folders-made", "start.2-reserving", "start.3-reserved")
SIGN = ("sign.1-extended", "sign.2-digests-saved", "sign.3-multipart-begun", "sign.4-multipart-saved")
LEASE = ("finish.1-leasing", "finish.2-leased")
COMPLETE = ("finish.3-listed", "finish.4-completed")
PUBLISH = ("finish.5-inspected", "finish.6-publishing", "finish.7-published", "finish.8-previews-requested")
ERASE = ("erase.1-parts-gone", "erase.2-object-gone", "erase.4-previews-gone", "erase.5-row-gone")


@dataclass(frozen=True)
class Scenario:
    play: Play
    points: tuple[str, ...]


SCENARIOS: dict[str, Scenario] = {}


def crashes_at(*points: str) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        SCENARIOS[play.__name__] = Scenario(play, points)
        return play

    return register


def run(name: str, harness: Harness) -> None:
    """Run the scenario; its process can crash from the `yield` on, and is replaced once."""
    steps = SCENARIOS[name].play(harness)
    harness.client.armed = False
    next(steps)
    harness.client.armed = True
    for _ in steps:
        raise AssertionError("one yield is enough")
    harness.settle()


# --- uploads ----------------------------------------------------------------------------------


@crashes_at(*START, *SIGN)
def send_file_in_parts(harness: Harness) -> Iterator[None]:
    yield
    file = harness.send(harness.body(), folder="Reports")
    assert file.folder_id


@crashes_at(*LEASE, *COMPLETE, *PUBLISH)
def complete_file_in_parts(harness: Harness) -> Iterator[None]:
    upload = harness.upload_client.start(harness.body())
    harness.upload_client.put(upload)
    yield
    harness.finish(upload)


@crashes_at(*LEASE, *PUBLISH)
def send_small_files(harness: Harness) -> Iterator[None]:
    uploads = [harness.upload_client.start(b"small %d" % number) for number in range(3)]
    for upload in uploads:
        harness.upload_client.put(upload)
    yield
    assert len(harness.finish(*uploads)) == 3


@crashes_at("finish.9-refused")
def complete_too_early(harness: Harness) -> Iterator[None]:
    upload = harness.upload_client.start(harness.body())
    harness.upload_client.put(upload, 1)
    yield
    response = harness.upload_client.finish(upload)
    assert (response.status_code, response.json()["error"]["missing"]) == (409, list(upload.numbers)[1:])
    harness.upload_client.put(upload)
    harness.finish(upload)


@crashes_at(
    "replace.1-published", "replace.2-made-current", "finish.2-leased", "finish.6-publishing", "finish.7-published"
)
def replace_with_new_version(harness: Harness) -> Iterator[None]:
    first = harness.send(b"one", folder="Brand")
    upload = harness.upload_client.start(b"second", replaces=first.pk)
    harness.upload_client.put(upload)
    yield
    (second,) = harness.finish(upload)
    assert (second.permanent_id, second.current, second.folder_id) == (first.pk, True, first.folder_id)
    assert not harness.row(first).current


@crashes_at("resolve.1-leased", "resolve.2-assembled", "resolve.3-published")
def sweep_abandoned_uploads(harness: Harness) -> Iterator[None]:
    upload = leave_while_completing(harness)
    yield
    harness.command("sweep")
    expire_everything()
    harness.command("sweep")
    assert upload.row().state == State.AVAILABLE
    harness.acknowledged[upload.id] = upload.body


def leave_while_completing(harness: Harness) -> Upload:
    upload = harness.upload_client.start(harness.body())
    harness.upload_client.put(upload)
    File.objects.filter(pk=upload.id).acquire_lease(checksum=composite(upload.pieces))
    expire_everything()
    return upload


# --- the form ---------------------------------------------------------------------------------


@crashes_at("receive.1-reserved", "receive.2-whole-sent", "receive.5-placed", "finish.2-leased", "finish.7-published")
def upload_by_form(harness: Harness) -> Iterator[None]:
    yield
    submit_form(harness, b"a form")


@crashes_at("receive.3-part-sent", "receive.4-size-settling", "sign.3-multipart-begun", "finish.4-completed")
def upload_by_form_in_parts(harness: Harness) -> Iterator[None]:
    yield
    submit_form(harness, harness.body())


def submit_form(harness: Harness, body: bytes) -> None:
    name = f"{uuid4()}.txt"
    response = harness.form(Chosen(name, body))
    assert (response.status_code, b"1 of 1 stored" in response.content) == (200, True)
    stored = File.objects.get(name=name, state=State.AVAILABLE, size=len(body))
    harness.acknowledged[stored.pk] = body


# --- cancellation, expiry, trash --------------------------------------------------------------


@crashes_at("cancel.1-discarded", "erase.1-parts-gone", "erase.2-object-gone")
def cancel_upload(harness: Harness) -> Iterator[None]:
    upload = harness.upload_client.start(harness.body())
    harness.upload_client.put(upload, 1)
    yield
    assert harness.upload_client.cancel(upload).status_code in {204, 404}
    harness.settle()
    assert not File.objects.filter(pk=upload.id).exists()


@crashes_at("expire.1-discarded", *ERASE)
def expire_upload(harness: Harness) -> Iterator[None]:
    upload = harness.upload_client.start(harness.body())
    harness.upload_client.put(upload, 1)
    expire_everything()
    yield
    harness.command("sweep")
    harness.settle()
    assert not File.objects.filter(pk=upload.id).exists()


@crashes_at("bulk.1-changed", "bulk.2-committed")
def trash_one_file(harness: Harness) -> Iterator[None]:
    file = harness.send(b"to the trash")
    yield
    harness.click(f"/files/{file.pk}/trash")
    assert harness.row(file).state == State.TRASHED
    assert Event.objects.filter(action=Action.TRASH, file_id=file.pk).count() == 1


@crashes_at("bulk.1-changed", "bulk.2-committed")
def restore_one_file(harness: Harness) -> Iterator[None]:
    file = harness.send(b"and back")
    harness.click(f"/files/{file.pk}/trash")
    yield
    harness.click(f"/files/{file.pk}/restore")
    assert harness.row(file).state == State.AVAILABLE
    assert Event.objects.filter(action=Action.RESTORE, file_id=file.pk).count() == 1


@crashes_at("purge.1-discarding", "purge.2-discarded", "erase.3-preview-object-gone", *ERASE)
def purge_trash(harness: Harness) -> Iterator[None]:
    file = harness.send(b"words that have a preview", name="words.txt")
    harness.command("worker", "--once")
    assert Preview.objects.filter(file=file, state=PreviewState.READY).exists()
    harness.click(f"/files/{file.pk}/trash")
    expire_trash()
    harness.forget(file)
    expire_everything()
    yield
    harness.command("sweep")
    harness.settle()
    assert not File.objects.filter(pk=file.pk).exists()
    assert Event.objects.filter(action=Action.PURGE, file_id=file.pk).count() == 1


# --- versions and folders ---------------------------------------------------------------------


@crashes_at("version.1-made-current", "version.2-restored")
def restore_previous_version(harness: Harness) -> Iterator[None]:
    first = harness.send(b"one")
    second = harness.send(b"second", replaces=first.pk)
    yield
    harness.click(f"/files/{first.pk}/versions/{first.pk}/restore")
    assert (harness.row(first).current, harness.row(second).current) == (True, False)


@crashes_at("bulk.1-changed", "bulk.2-committed")
def move_files_to_folder(harness: Harness) -> Iterator[None]:
    files = [harness.send(b"%d" % number) for number in range(2)]
    target = harness.send(b"there", folder="There").folder_id
    yield
    harness.click("/files/bulk", do="move", file=[str(file.pk) for file in files], to=target, go=1)
    assert {harness.row(file).folder_id for file in files} == {target}


@crashes_at("move.3-folder-moving", "bulk.2-committed")
def move_folder_into_another(harness: Harness) -> Iterator[None]:
    inner = harness.send(b"inner", folder="Inner/Deep").folder
    outer = harness.send(b"outer", folder="Outer").folder
    assert inner
    assert outer
    yield
    harness.click(f"/folders/{inner.path[0]}/move", to=outer.pk, go=1)
    assert Folder.objects.get(pk=inner.pk).path[0] == outer.pk
    harness.click(f"/folders/{inner.path[0]}/move", to=0, go=1)  # for the next failpoint


# --- previews ---------------------------------------------------------------------------------


@crashes_at(
    "preview.1-leasing", "preview.2-leased", "preview.3-drawn", "preview.4-stored", "preview.5-ready"
)  # fmt: skip
def create_image_previews(harness: Harness) -> Iterator[None]:
    file = harness.send(as_file(two_halves(40, 30)), name="picture.png")
    yield
    harness.command("worker", "--once")
    harness.stop_faults()  # after a storage error, the worker exits with 0 and retries later
    expire_everything()
    harness.command("sweep")
    harness.command("worker", "--once")
    assert set(Preview.objects.filter(file=file).values_list("state", flat=True)) == {PreviewState.READY}


@crashes_at("pages.1-drawn", "pages.2-counted", "preview.4-stored", "preview.5-ready")
def create_pages_of_a_document(harness: Harness) -> Iterator[None]:
    file = harness.send(document(2), name="report.pdf")
    services.make_previews(file)
    yield
    harness.command("worker", "--once")
    harness.stop_faults()
    for _task in range(2):  # for the file, and then for its pages
        expire_everything()
        harness.command("sweep")
        harness.command("worker", "--once")
    assert set(Preview.objects.filter(file=file).values_list("state", flat=True)) == {PreviewState.READY}
    assert Preview.objects.filter(file=file, kind=PreviewKind.PAGE).count() == 1


# --- maintenance, without failpoints ---------------------------------------------------------------


@crashes_at()
def verify_all_files(harness: Harness) -> Iterator[None]:
    files = [harness.send(harness.body(letter=letter)) for letter in (b"a", b"b")]
    yield
    assert harness.command("verify", "--all").status_code == 0
    assert {harness.row(file).checksum_status for file in files} == {ChecksumStatus.VERIFIED}


@crashes_at()
def compare_bucket_and_rows(harness: Harness) -> Iterator[None]:
    harness.send(b"small")
    harness.upload_client.start(harness.body())
    yield
    assert harness.command("fsck", "--min-age", "0").status_code == 0
    assert not Finding.objects.exists()
