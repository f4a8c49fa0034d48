"""The pages of documents after the first: drawing, limits, tasks and cleanup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django_tasks.base import TASK_MIN_PRIORITY
from django_tasks_db.models import DBTaskResult

from tests.support import pictures
from tests.support.commands import run_command
from tests.support.pictures import as_file, number_of_page, opened, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, previews, s3, services
from uploads.errors import StorageUnavailable
from uploads.models import Event, File, Preview, PreviewKind, PreviewState, State, new_preview_key
from uploads.models.querysets import seconds_from_now
from uploads.previews import sandbox
from uploads.services.previews import REASONS
from uploads.services.sweep import sweep

pytestmark = pytest.mark.slow

READY, FAILED, PENDING = PreviewState.READY, PreviewState.FAILED, PreviewState.PENDING


@pytest.fixture
def send(upload_client: UploadClient) -> Callable[..., File]:
    """`send(3)` uploads a PDF of three pages, and makes the preview of the first."""

    def upload(count: int, **more: Any) -> File:
        file = upload_client.send(pictures.document(count, **more), name="report.pdf")
        services.make_previews(file)
        return file

    return upload


def pages(file: File, state: str = READY) -> list[int]:
    rows = Preview.objects.filter(file=file, kind=PreviewKind.PAGE, state=state)
    return sorted(rows.values_list("page", flat=True))


def picture(file: File) -> Preview:
    return Preview.objects.get(file=file, kind=PreviewKind.PICTURE)


def waiting_tasks() -> list[tuple[list[str], int]]:
    """Return the files and priorities of the tasks for pages."""
    rows = DBTaskResult.objects.filter(task_path=services.preview_pages.module_path).order_by("enqueued_at")
    return [(row.args_kwargs["args"][0], row.priority) for row in rows]


# --- pages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "last"), [(1, 1), (3, 3), (25, 20)])
def test_pages_up_to_the_twentieth_are_drawn(send: Callable[..., File], bucket: Bucket, count: int, last: int) -> None:
    file = send(count)
    assert services.make_pages(file) == (count > 1)
    assert picture(file).page_count == count
    assert pages(file) == list(range(2, last + 1))
    for row in Preview.objects.filter(file=file).exclude(kind=PreviewKind.THUMBNAIL):
        image = opened(bucket.read(row.key))
        assert number_of_page(image) == row.page
        assert (image.format, image.size, row.size) == ("WEBP", (row.width, row.height), len(bucket.read(row.key)))
        assert max(image.size) == 1600
    assert len(bucket.objects()) == 2 + last  # the file, its thumbnail, and the pages


def test_picture_of_another_file_has_no_page_count(upload_client: UploadClient) -> None:
    file = upload_client.send(as_file(two_halves()))
    services.make_previews(file)
    assert not services.make_pages(file)
    assert set(Preview.objects.values_list("kind", "page_count")) == {("thumbnail", None), ("picture", None)}


def test_broken_page_fails_and_the_others_are_drawn(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(4, broken=[2])
    services.make_pages(file)
    assert (pages(file), pages(file, FAILED)) == ([3, 4], [2])
    assert Preview.objects.get(state=FAILED).reason == REASONS["corrupted"]
    assert not services.make_pages(file)


def test_make_pages_is_safe_to_repeat(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(3)
    services.make_pages(file)
    before = bucket.objects()
    assert not services.make_pages(file)
    assert bucket.objects() == before


def test_leased_pages_are_not_started_again(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(3)
    Preview.objects.filter(kind=PreviewKind.PAGE).update(lease_until=seconds_from_now(60))
    assert not services.make_pages(file)


def test_unavailable_storage_leaves_the_pages_pending_without_lease(
    send: Callable[..., File], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = send(3)
    put = s3.put
    stored: list[str] = []

    def put_once(key: str, body: bytes, **more: Any) -> None:
        if stored:
            raise StorageUnavailable
        stored.append(key)
        put(key, body, **more)

    with monkeypatch.context() as patch:
        patch.setattr(s3, "put", put_once)
        with pytest.raises(StorageUnavailable):
            services.make_pages(file)
    assert (pages(file), pages(file, PENDING)) == ([2], [3])
    assert services.make_pages(file)
    assert pages(file) == [2, 3]
    assert len(bucket.objects()) == 5


# --- limits of the child -----------------------------------------------------------------------------

CHILD = """
import sys, time
sys.path.insert(0, {project!r})
from uploads.previews import decoders, sandbox
drawn = decoders.draw_page
def draw_page(document, number):
    if number == 4:
        {hostile}
    return drawn(document, number)
decoders.draw_page = draw_page
sandbox.main(*sys.argv[1:])
"""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """`hostile(code)` makes the child run this code where it would draw the fourth page."""
    start = subprocess.Popen

    def replace(code: str) -> None:
        script = tmp_path / "child.py"
        script.write_text(CHILD.format(project=str(Path(__file__).parents[2]), hostile=code))

        def instead(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            return start([sys.executable, str(script), *command[3:]], **options)

        monkeypatch.setattr("uploads.previews.renderer.subprocess.Popen", instead)

    return replace


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("time.sleep(600)", "too_hard"),
        ("import os; os.kill(os.getpid(), 11)", "too_hard"),
        ("raise AssertionError", "too_hard"),
        ("raise MemoryError", "too_large"),
    ],
)
def test_hostile_page_does_not_cost_those_before(
    send: Callable[..., File], hostile: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    file = send(5)
    hostile(code)
    monkeypatch.setattr(previews, "wait_seconds", lambda _type: 5.0)
    services.make_pages(file)
    last = [5] if reason == "too_large" else []
    assert (pages(file), pages(file, FAILED)) == ([2, 3, *last], [4] if last else [4, 5])
    assert Preview.objects.get(file=file, page=4).reason == REASONS[reason]


def test_document_that_cannot_be_opened_fails_at_once(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(3)
    bucket.write(file.key, b"nonsense".ljust(file.size))
    services.make_pages(file)
    assert pages(file, FAILED) == [2]
    assert picture(file).page_count == 3


@pytest.mark.parametrize(
    "report",
    [
        {"page_count": 0, "sizes": {}}, {"page_count": "many", "sizes": {}}, {"page_count": 2**40, "sizes": {}}, {},
        {"page_count": 3, "sizes": 7}, {"sizes": {}}, {"page_count": float("inf"), "sizes": {}},
    ],
    ids=str,
)  # fmt: skip
def test_invalid_report_of_the_child_is_rejected(
    tmp_path: Path, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.previews.renderer._run_child", lambda *_, **__: sandbox.save_report(tmp_path, report))
    with pytest.raises(previews.PreviewFailed, match="corrupted"):
        previews.render_pages(tmp_path / "file", "application/pdf", tmp_path)


@pytest.mark.parametrize("size", [[9999, 1], [0, 1], [1], "trust me", 7, [float("inf"), 1]])
def test_page_that_does_not_match_its_report_is_corrupted(tmp_path: Path, size: Any) -> None:
    (tmp_path / "2.webp").write_bytes(as_file(two_halves(10, 10), "WEBP"))
    with pytest.raises(previews.PreviewFailed, match="corrupted"):
        previews.Pages(tmp_path, 2, {"2": size}).read(2)


# --- tasks ------------------------------------------------------------------------------------------


def test_pages_are_made_by_a_task_after_all_others(upload_client: UploadClient, bucket: Bucket) -> None:
    long = upload_client.send(pictures.document(3), name="long.pdf")
    short = upload_client.send(pictures.document(1), name="short.pdf")
    services.preview_files.func([str(long.pk), str(short.pk)], owner_id=long.owner_id)
    assert waiting_tasks() == [([str(long.pk)], TASK_MIN_PRIORITY)]
    assert services.preview_pages.call([str(long.pk)]) == 1
    assert pages(long) == [2, 3]


def test_remaining_documents_of_a_task_keep_the_lowest_priority(
    send: Callable[..., File], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.services.tasks.TASK_SECONDS", 0.0)
    files = [str(send(2).pk) for _ in range(2)]
    services.preview_pages.call(files)
    assert waiting_tasks() == [(files[1:], TASK_MIN_PRIORITY)]


def test_task_for_pages_is_retried_after_unavailable_storage(
    send: Callable[..., File], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unavailable(*_: Any, **__: Any) -> None:
        raise StorageUnavailable

    file = send(2)
    monkeypatch.setattr(s3, "read", raise_unavailable)
    services.preview_pages.call([str(file.pk)])
    assert waiting_tasks() == [([str(file.pk)], TASK_MIN_PRIORITY)]
    assert services.requeue_lost_previews() == 0  # it waits for its next try


def test_sweep_requeues_pages_of_a_lost_task(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(3)
    DBTaskResult.objects.all().delete()
    assert services.requeue_lost_previews() == 1
    services.preview_files.call([str(file.pk)])
    assert [ids for ids, _priority in waiting_tasks()] == [[str(file.pk)]]
    DBTaskResult.objects.exclude(task_path=services.preview_pages.module_path).delete()
    assert services.requeue_lost_previews() == 0  # its task is in the queue


def test_pages_are_requested_again_after_trash_and_restore(
    send: Callable[..., File], alice: User, marked: Bucket
) -> None:
    file = send(3)
    DBTaskResult.objects.all().delete()
    actions.trash_file(file, by=alice)
    sweep()
    actions.restore_file(file, by=alice)
    assert services.requeue_lost_previews() == 1
    services.preview_files.call([str(file.pk)])
    services.preview_pages.call(waiting_tasks()[-1][0])
    assert pages(file) == [2, 3]


def test_sweep_leaves_pages_of_quarantined_files_alone(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(3)
    DBTaskResult.objects.all().delete()
    File.objects.filter(pk=file.pk).update(scan_status="infected", quarantined=True)
    assert services.requeue_lost_previews() == 0


def test_pages_without_rows_are_made_again(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(3)
    Preview.objects.filter(kind=PreviewKind.PAGE).delete()
    assert run_command("previews").output == "files: 0\ndocuments: 1\n"
    assert services.make_pages(file)
    assert pages(file) == [2, 3]


def test_command_enqueues_documents_of_which_an_earlier_version_made_the_first_page(
    send: Callable[..., File], upload_client: UploadClient, bucket: Bucket
) -> None:
    files = {count: send(count) for count in (1, 3)}
    services.make_previews(upload_client.send(as_file(two_halves()), name="photo.png"))
    Preview.objects.filter(kind=PreviewKind.PAGE).delete()
    Preview.objects.update(page_count=None)
    DBTaskResult.objects.all().delete()
    assert run_command("previews").output == "files: 0\ndocuments: 2\n"
    ((ids, priority),) = waiting_tasks()
    assert (set(ids), priority) == ({str(file.pk) for file in files.values()}, TASK_MIN_PRIORITY)
    services.preview_pages.call(ids)
    assert {count: (pages(file), picture(file).page_count) for count, file in files.items()} == {
        1: ([], 1), 3: ([2, 3], 3),
    }  # fmt: skip
    assert run_command("previews").output == "files: 0\ndocuments: 0\n"
    assert len(bucket.objects()) == len(set(Preview.objects.values_list("key"))) + 3


def test_command_retries_failed_pages_on_request(send: Callable[..., File], bucket: Bucket) -> None:
    file = send(5)
    services.make_pages(file)
    Preview.objects.filter(page__gte=4).update(state=FAILED)
    assert run_command("previews").output == "files: 0\ndocuments: 0\n"
    assert run_command("previews", "--retry-failed").output == "files: 0\ndocuments: 1\n"
    services.preview_pages.call([str(file.pk)])
    assert pages(file) == [2, 3, 4, 5]


# --- cleanup ----------------------------------------------------------------------------------------


def test_fsck_knows_every_page_and_requests_lost_ones_again(send: Callable[..., File], marked: Bucket) -> None:
    file = send(3)
    services.make_pages(file)
    assert run_fsck() == 0
    marked.delete(Preview.objects.get(file=file, page=3).key)
    assert run_fsck() == 1
    assert run_fsck("--repair", "--max-repairs=1") == 0
    assert (pages(file), pages(file, PENDING)) == ([2], [3])
    services.preview_files.call([str(file.pk)])
    services.preview_pages.call(waiting_tasks()[-1][0])
    assert pages(file) == [2, 3]
    assert run_fsck() == 0


def run_fsck(*arguments: str) -> int:
    return run_command("fsck", "--min-age", "0", *arguments).status


def test_purging_a_document_deletes_all_pages(send: Callable[..., File], alice: User, bucket: Bucket) -> None:
    file = send(25)
    services.make_pages(file)
    assert len(bucket.objects()) == 22
    actions.trash_file(file, by=alice)
    File.objects.filter(pk=file.pk).update(purge_after=seconds_from_now(-1), signed_until=None)
    sweep()
    assert not Preview.objects.exists()
    assert not File.objects.exists()
    assert bucket.objects() == {}
    assert Event.objects.filter(file_id=file.pk).exists()


def test_document_purged_while_its_pages_are_drawn_leaves_no_objects(
    send: Callable[..., File], alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = send(3)
    render_pages = previews.render_pages

    def render_then_purge(*arguments: Any, **more: Any) -> previews.Pages:
        drawn = render_pages(*arguments, **more)
        actions.trash_file(file, by=alice)
        File.objects.filter(pk=file.pk).update(purge_after=seconds_from_now(-1), signed_until=None)
        sweep()
        assert File.objects.get().state == State.DELETING  # it waits for the leased page
        return drawn

    monkeypatch.setattr(previews, "render_pages", render_then_purge)
    services.make_pages(file)
    sweep()
    assert not File.objects.exists()
    assert bucket.objects() == {}


# --- the migration ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_interrupted_migration_can_be_repeated(upload_client: UploadClient) -> None:
    file = upload_client.send(b"words")
    migration = import_module("uploads.migrations.0020_preview_pages")
    with connection.cursor() as cursor:
        for operation in migration.Migration.operations:
            for statement in [operation.sql] if isinstance(operation.sql, str) else operation.sql:
                cursor.execute(statement)
        constraints = connection.introspection.get_constraints(cursor, "uploads_preview")
        for _time in range(2):  # as the previous version inserts
            cursor.execute(
                "INSERT INTO uploads_preview (file_id, kind, state, key, size, width, height, reason, lease_until)"
                " VALUES (%s, 'picture', 'pending', %s, 0, 0, 0, '', now()) ON CONFLICT DO NOTHING",
                [file.pk, new_preview_key()],
            )
    assert constraints["preview_page_unique"]["columns"] == ["file_id", "kind", "page"]
    assert "preview_kind_unique" not in constraints
    assert (Preview.objects.get().page, Preview.objects.get().page_count) == (1, None)
