"""Export all rows, lose the database and rebuild it: the library is the same."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from pytest_django import Settings

from tests.conftest import person, signed_in
from tests.support import factories
from tests.support.commands import run_command
from tests.support.file_rows import create_row, ensure_folder, path_of
from tests.support.guests import GuestClient, create_request
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.verification import verify_file
from uploads import actions, s3
from uploads.actions import set_visibility, tag_files
from uploads.actions.restore import RestoreAction
from uploads.actions.trash import TrashAction
from uploads.models import (
    AccessLevel,
    ChecksumStatus,
    Event,
    File,
    FileRequest,
    Folder,
    Grant,
    GuestSession,
    Installation,
    Origin,
    ShareLink,
    ShareLinkFile,
    State,
    Tag,
    Tagging,
    Usage,
    Visibility,
)
from uploads.models.querysets import seconds_from_now
from uploads.services import share_links
from uploads.services.manifest import rebuild as rebuild_module
from uploads.services.manifest.export import columns_of
from uploads.services.recount import recount
from uploads.services.share_links import ShareOptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def library(roles: None, alice: User, bob: User, bucket: Bucket, settings: Settings) -> Bucket:
    """A library with access rules, tags, versions, trash, private files and unusual names; return its bucket."""
    settings.UPLOAD_PART_BYTES = 10
    s3.write_marker(Installation.objects.own_id())
    upload_client = UploadClient(signed_in(alice))
    brand = ensure_folder("Brand/Logos ✨", alice)
    closed = ensure_folder("Brand/Finance", alice)
    Folder.objects.filter(pk=closed.pk).update(restricted=True, access_root=closed)
    Grant.objects.create(folder=closed, group=Group.objects.get(name="managers"), level=AccessLevel.MANAGE)
    report = upload_client.send(b"first version", name="report.txt")
    upload_client.send(b"second version", name="report.txt", replaces=str(report.permanent_id))
    emoji = upload_client.send(b"0123456789abc", name='🎉 "תמונה" \\ of\tus.png')
    upload_client.send(b"", name="empty")
    trashed = upload_client.send(b"trash", name="trash.txt")
    actions.trash_file(trashed, by=alice)
    tag_files([emoji.permanent_id], add=["Été", "summer"], remove=[], by=alice)
    set_visibility([emoji.permanent_id], Visibility.PRIVATE, by=alice)
    File.objects.filter(pk=emoji.pk).update(folder=brand)
    UploadClient(signed_in(bob)).send(b"bob's", name="bob.txt")
    Usage.objects.filter(owner=bob).update(quota_bytes=1000, quota_files=None)
    options = ShareOptions(days=7, max_downloads=3, note="for the press")
    share_links.share_file(report, options, by=alice)
    share_links.share_selection(
        [report.permanent_id, File.objects.get(name="empty").permanent_id], ShareOptions(days=7), by=alice
    )
    share_links.share_folder(brand, ShareOptions(days=7), by=alice)
    share_links.revoke(ShareLink.objects.filter(folder=brand), by=alice)
    create_request(brand, alice, accepted_types=[".txt", "image/*"])
    create_row(bob, State.UPLOADING)
    return bucket


def exported(path: Path, *args: str) -> list[str]:
    """Export a manifest and return its lines without the first and the last, which contain times."""
    call_command("export_manifest", "--output", str(path), *args, stdout=io.StringIO(), stderr=io.StringIO())
    return path.read_text().splitlines()[1:-1]


def rebuild(*args: object) -> tuple[int, dict[str, Any], str]:
    """Return the exit status, the JSON document and the error message."""
    status, output, errors = run_command("rebuild_rows", "--json", *args)
    return status, json.loads(output or "{}"), errors


def timeless(lines: list[str]) -> list[str]:
    """Hide the purge dates of the trash, which a rebuild postpones."""
    return [re.sub(r'"purge_after":"[^"]+"', '"purge_after":"…"', line) for line in lines]


def alter(path: Path, before: bytes, after: bytes) -> None:
    """Change lines of a manifest and correct its last line."""
    *lines, _end = path.read_bytes().replace(before, after).splitlines(keepends=True)
    end = {"kind": "end", "lines": len(lines), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    path.write_bytes(b"".join(lines) + json.dumps(end).encode() + b"\n")


def rendered(user: User, page: str) -> str:
    response = signed_in(user).get(page)
    assert response.status_code == 200, page
    body = response.content.decode()
    if page == "/trash/":  # purged later, after a rebuild
        body = re.sub(r"<time[^>]*>[^<]*</time>", "", body)
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"|"X-CSRFToken": "\w+"', "", body)


def empty_database() -> None:
    """A new database as after `migrate`: with the roles, and no users."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE auth_user, uploads_folder, uploads_tag, uploads_installation, uploads_event, uploads_statistic, "
            "uploads_statisticdelta, uploads_usage, uploads_file RESTART IDENTITY CASCADE"
        )


def test_rebuild_restores_every_exported_line(library: Bucket, tmp_path: Path) -> None:
    before = exported(tmp_path / "before.jsonl", "--include-audit-log")
    installation = Installation.objects.own_id()
    usage = list(Usage.objects.filter(owner__username="alice").values())
    empty_database()
    code, summary, _why = rebuild(tmp_path / "before.jsonl", "--apply")
    assert (code, summary["present"], summary["missing"], summary["unknown"]) == (0, 6, 0, 0)
    after = exported(tmp_path / "after.jsonl", "--include-audit-log")
    assert timeless(after[: len(before)]) == timeless(before)
    assert [json.loads(line)["action"] for line in after[len(before) :]] == ["repair"]
    assert Installation.objects.own_id() == installation
    assert recount() == []
    call_command("fsck", stdout=io.StringIO(), stderr=io.StringIO())
    assert list(Usage.objects.filter(owner__username="alice").values()) == usage


def test_pages_are_the_same_after_a_rebuild(library: Bucket, tmp_path: Path, alice: User) -> None:
    pages = ["/", "/trash/", "/tags/", *(folder.get_absolute_url() for folder in Folder.objects.visible_to(alice))]
    pages += [file.get_absolute_url() for file in File.objects.listed()]
    before = {page: rendered(alice, page) for page in pages}
    exported(tmp_path / "manifest", "--include-audit-log")
    empty_database()
    rebuild(tmp_path / "manifest", "--apply")
    again = User.objects.get(username="alice")
    assert not again.has_usable_password()
    for page, body in before.items():
        assert rendered(again, page) == body, page


def test_trashed_folder_can_be_restored_after_a_rebuild(library: Bucket, tmp_path: Path, alice: User) -> None:
    folder = ensure_folder("Campaign", alice)
    File.objects.filter(name="empty").update(folder=folder)
    TrashAction().execute([], {}, by=alice, folders=[folder.pk])
    exported(tmp_path / "manifest")
    empty_database()
    assert rebuild(tmp_path / "manifest", "--apply")[0] == 0
    again = User.objects.get(username="alice")
    RestoreAction().execute([], {}, by=again, folders=[Folder.objects.get(name="Campaign").pk])
    assert path_of(File.objects.get(name="empty", state=State.AVAILABLE)) == "Campaign/empty"


def test_links_work_again_except_those_with_a_password(library: Bucket, tmp_path: Path, alice: User) -> None:
    file = File.objects.get(name="empty")
    _link, token = share_links.share_file(file, ShareOptions(days=7), by=alice)
    _link, locked = share_links.share_file(file, ShareOptions(days=7, password="hunter2 of a link"), by=alice)
    request, request_token = create_request(Folder.objects.get(name="Brand"), alice, max_files=2)
    sent = GuestClient(request_token, name="Gina").send(b"one", name="one.txt")
    manifest = tmp_path / "manifest.jsonl"
    before = exported(manifest)
    assert b"pbkdf2" not in manifest.read_bytes()
    assert token.encode() not in manifest.read_bytes()
    empty_database()
    assert rebuild(manifest, "--apply")[0] == 0
    assert timeless(exported(tmp_path / "after.jsonl")) == timeless(before)
    assert File.objects.get(pk=sent.pk).guest_session == GuestSession.objects.get(name="Gina")
    guest = Client()
    assert guest.get(f"/s/{token}/download").status_code == 302
    assert guest.get(f"/s/{locked}/").status_code == 404
    again = FileRequest.objects.get(pk=request.pk)
    assert (again.file_count, again.byte_count) == (1, 3)
    GuestClient(request_token).send(b"two", name="two.txt")
    refused = GuestClient(request_token)
    assert refused.announce(refused.item(b"three")).status_code == 413


def test_files_with_changed_etags_are_unverified_until_verify_runs(library: Bucket, tmp_path: Path) -> None:
    pk = File.objects.get(size=0).pk
    File.objects.filter(pk=pk).update(etag="e" * 32, checksum_status=ChecksumStatus.VERIFIED)
    exported(tmp_path / "manifest")
    empty_database()
    code, counts, _why = rebuild(tmp_path / "manifest", "--apply")
    row = File.objects.get(pk=pk)
    assert (code, counts["changed"], row.checksum_status) == (1, 1, ChecksumStatus.UNVERIFIED)
    assert verify_file(row) == ChecksumStatus.VERIFIED


def test_file_restored_after_the_export_is_not_purged(library: Bucket, tmp_path: Path) -> None:
    trashed = File.objects.get(state=State.TRASHED)
    File.objects.filter(pk=trashed.pk).update(purge_after=seconds_from_now(1))
    exported(tmp_path / "manifest")
    actions.restore_file(trashed, by=trashed.owner)
    empty_database()
    assert rebuild(tmp_path / "manifest", "--apply")[0] == 0
    days = File.objects.filter(
        purge_after__gt=seconds_from_now(29.9 * 24 * 3600), purge_after__lt=seconds_from_now(30.1 * 86400)
    )
    assert days.get().pk == trashed.pk


def test_manifest_that_is_older_than_a_column_is_loaded(library: Bucket, tmp_path: Path) -> None:
    lines = exported(tmp_path / "manifest")
    alter(tmp_path / "manifest", b',"refusal":""', b"")
    empty_database()
    assert rebuild(tmp_path / "manifest", "--apply")[0] == 0
    assert File.objects.filter(refusal="").count() == sum('"kind":"file"' in line for line in lines)


ODD = {
    "no store": (b'"store":', b'"shop":'), "no key": (b'"key":', b'"lock":'), "no name": (b'"name":', b'"title":'),
    "a size in words": (b'"size":14,', b'"size":"much",'), "an unknown state": (b'"available"', b'"elsewhere"'),
    "nobody's names": (b'"username":', b'"called":'), "no groups": (b'"groups":', b'"sets":'),
}  # fmt: skip


def test_invalid_lines_are_refused_and_nothing_is_written(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "manifest")
    empty_database()
    before = factories.database_rows()
    for how, change in ODD.items():
        path = Path(shutil.copy(tmp_path / "manifest", tmp_path / "altered"))
        alter(path, *change)
        code, _summary, reason = rebuild(path, "--apply")
        assert (code, "A line of the manifest" in reason) == (2, True), how
        assert factories.database_rows() == before, how


def test_listing_alone_marks_no_file_as_missing_or_corrupted(
    library: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(tmp_path / "manifest")
    empty_database()
    monkeypatch.setattr(s3, "list_objects", lambda *_, **__: (page for page in list[s3.ListingPage]()))
    assert rebuild(tmp_path / "manifest", "--apply")[:1] == (0,)
    assert not File.objects.filter(checksum_status__in=[ChecksumStatus.MISSING, ChecksumStatus.CORRUPTED]).exists()


def test_file_without_object_is_rebuilt_as_missing(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "manifest")
    missing, resized = File.objects.get(name="bob.txt"), File.objects.get(name="empty")
    library.delete(missing.key)
    library.write(resized.key, b"no longer empty")
    empty_database()
    code, counts, _why = rebuild(tmp_path / "manifest", "--apply")
    assert (code, counts["missing"], counts["size"]) == (1, 1, 1)
    assert File.objects.get(pk=missing.pk).checksum_status == ChecksumStatus.MISSING
    assert File.objects.get(pk=resized.pk).checksum_status == ChecksumStatus.CORRUPTED


def test_objects_newer_than_the_manifest_are_recovered_on_request(library: Bucket, tmp_path: Path, alice: User) -> None:
    exported(tmp_path / "manifest")
    new = UploadClient(signed_in(alice)).send(b"newer than the manifest", name="new.txt")
    empty_database()
    assert rebuild(tmp_path / "manifest")[1]["unknown"] == 1
    code, _summary, _why = rebuild(tmp_path / "manifest", "--apply", "--recover-orphans", "--owner", "alice")
    file = File.objects.get(key=new.key)
    assert code == 1
    assert (file.owner.username, file.origin, file.checksum_status) == (
        "alice",
        Origin.ADOPTED,
        ChecksumStatus.UNVERIFIED,
    )
    assert file.name == new.key.removeprefix("f/") + ".txt"
    assert path_of(file).startswith("Recovered ")
    assert recount() == []


def test_a_dry_run_writes_nothing(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "manifest")
    empty_database()
    before = factories.database_rows()
    assert rebuild(tmp_path / "manifest")[0] == 0
    assert factories.database_rows() == before


def test_library_that_is_not_empty_is_refused(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "manifest")
    before = factories.database_rows()
    code, _summary, reason = rebuild(tmp_path / "manifest", "--apply")
    assert (code, factories.database_rows()) == (2, before)
    assert "not empty" in reason


def test_tags_with_the_same_normalized_name_are_merged(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "before.jsonl")
    alter(tmp_path / "before.jsonl", b'"name":"summer"', '"name":"ÉTÈ"'.encode())
    empty_database()
    assert rebuild(tmp_path / "before.jsonl", "--apply")[0] == 0
    assert list(Tag.objects.values_list("name", "normalized_name")) == [("Été", "ete")]
    assert Tagging.objects.count() == 1
    assert recount() == []


def test_truncated_manifest_is_refused_and_nothing_is_written(alice: User, bucket: Bucket, tmp_path: Path) -> None:
    s3.write_marker(Installation.objects.own_id())
    path = tmp_path / "manifest"
    exported(path)
    path.write_bytes(path.read_bytes()[:-100])
    before = factories.database_rows()
    code, _summary, reason = rebuild(path, "--apply")
    assert (code, factories.database_rows()) == (2, before)
    assert "incomplete" in reason


def test_the_bucket_of_another_library_is_refused(alice: User, bucket: Bucket, tmp_path: Path) -> None:
    s3.write_marker(uuid.uuid4())
    exported(tmp_path / "manifest")
    code, _summary, reason = rebuild(tmp_path / "manifest", "--apply")
    assert code == 2
    assert "another database" in reason


def test_rebuild_finds_the_latest_manifest_in_the_bucket(library: Bucket, tmp_path: Path) -> None:
    for _ in range(2):
        call_command("export_manifest", "--to-bucket", stdout=io.StringIO(), stderr=io.StringIO())
    library.write("manifests/README", b"words of an operator")
    keys = sorted(key for key in library.objects() if key.startswith("manifests/2"))
    assert len(keys) == 2
    lines = gzip.decompress(library.read(keys[-1])).splitlines()
    before = exported(tmp_path / "before")
    assert [line.decode() for line in lines[1:-1]] == before
    empty_database()
    assert rebuild("--latest", "--apply")[0] == 0
    assert timeless(exported(tmp_path / "after")) == timeless(before)


def test_rebuild_without_a_manifest_in_the_bucket_is_refused(bucket: Bucket) -> None:
    assert rebuild("--latest")[0] == 2


def test_manifest_contains_no_passwords(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "manifest", "--include-audit-log")
    text = (tmp_path / "manifest").read_text()
    assert "pbkdf2" not in text
    assert "password" not in text


def test_first_line_counts_exported_and_skipped_rows(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "manifest")
    head = json.loads((tmp_path / "manifest").read_text().splitlines()[0])
    assert head["skipped"] == {"uploading": 1}
    assert head["counts"]["file"] == 6


def test_stdout_is_the_manifest_and_nothing_else(alice: User) -> None:
    out = io.StringIO()
    call_command("export_manifest", stdout=out, stderr=io.StringIO())
    kinds = [json.loads(line)["kind"] for line in out.getvalue().splitlines()]
    assert kinds == ["manifest", *["group"] * Group.objects.count(), "person", "end"]


def test_existing_user_is_kept_and_files_keep_their_owners(library: Bucket, tmp_path: Path) -> None:
    exported(tmp_path / "manifest")
    empty_database()
    admin = User.objects.create_superuser("admin", password="secret words")
    assert rebuild(tmp_path / "manifest", "--apply")[0] == 0
    assert User.objects.get(username="admin").pk == admin.pk
    assert set(File.objects.listed().values_list("owner__username", flat=True)) == {"alice", "bob"}
    person("after", "viewers")  # new ids follow those of the manifest
    assert recount() == []


def test_rows_of_an_unknown_store_are_refused(library: Bucket, tmp_path: Path, settings: Settings) -> None:
    exported(tmp_path / "manifest")
    empty_database()
    settings.S3_STORE_NAME = "new"
    code, _summary, reason = rebuild(tmp_path / "manifest", "--apply")
    assert code == 2
    assert "S3_STORE_NAME" in reason
    assert not File.objects.exists()


def test_failed_rebuild_writes_nothing(library: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(tmp_path / "manifest")
    empty_database()
    before = factories.database_rows()
    monkeypatch.setattr(rebuild_module, "USAGE", "SELECT nothing FROM nowhere")
    code, _summary, reason = rebuild(tmp_path / "manifest", "--apply")
    assert (code, factories.database_rows()) == (1, before)
    assert "Nothing was written" in reason


@pytest.mark.parametrize("where", ["/dev/null", "/"])
def test_export_overwrites_only_regular_files(db: None, where: str) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("export_manifest", "--output", where, stderr=io.StringIO())
    assert refusal.value.returncode == 2
    assert Path("/dev/null").is_char_device()


def test_failed_export_keeps_the_previous_manifest(
    alice: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest"
    exported(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CommandError, match="No space left"):
        exported(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])


# --- columns that came later --------------------------------------------------------------------

LATER = (FileRequest, GuestSession, ShareLink, ShareLinkFile)  # no manifest of the first release has their rows
EXPORTED = (Folder, Grant, Tag, File, Tagging, Event, *LATER)


def test_columns_added_since_the_first_release_have_a_default() -> None:
    first = MigrationLoader(None).project_state(("uploads", "0003_roles")).apps
    missing = {
        f"{model.__name__}.{field.column}"
        for model in EXPORTED
        for field in model._meta.concrete_fields
        if field.column in columns_of(model) and not field.null and field.column not in rebuild_module.ADDED_LATER
        if model not in LATER
        if field.column not in {old.column for old in first.get_model("uploads", model.__name__)._meta.concrete_fields}
    }
    assert missing == set()


def test_no_column_refers_to_a_table_that_is_not_exported() -> None:
    for model in EXPORTED:
        related = {
            field.related_model
            for field in model._meta.concrete_fields
            if field.is_relation and field.column in columns_of(model)
        }
        assert related <= {*EXPORTED, User, Group}
