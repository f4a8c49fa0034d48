"""The text of documents: how it is read in the sandbox, saved, searched and shown."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from tests.support.file_rows import create_row, ensure_folder
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, listing, names, previews
from uploads.errors import StorageUnavailable
from uploads.listing import ListQuery
from uploads.models import AccessLevel, ChecksumStatus, File, FileContent, ScanStatus, State, Visibility, content
from uploads.previews import renderer
from uploads.services import contents, folders, task_queue
from uploads.services.erase import erase_all
from uploads.services.malware import save_verdict
from uploads.services.malware_scanners import ScanVerdict

pytestmark = pytest.mark.django_db

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HEAD = '<?xml version="1.0"?>'


@pytest.fixture(autouse=True)
def content_search(settings: Settings) -> None:
    settings.CONTENT_SEARCH = True


def archive(members: dict[str, str], *, password: bool = False) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as document:
        for name, text in members.items():
            document.writestr(name, text)
    data = bytearray(body.getvalue())
    if password:  # the flag of encrypted members, in the central directory and before each member
        data[data.index(b"PK\x01\x02") + 8] |= 1
        data[data.index(b"PK\x03\x04") + 6] |= 1
    return bytes(data)


def word(*paragraphs: str) -> bytes:
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return archive({"word/document.xml": f'{HEAD}<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>'})


def pdf(text: str, *, trailer: str = "") -> bytes:
    """A PDF of one page with this text, in a standard font."""
    lines = " T* ".join(f"({line}) Tj" for line in text.splitlines())
    stream = f"BT /F1 24 Tf 30 TL 72 700 Td {lines} ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >> stream\n%s\nendstream" % (len(stream), stream),
    ]  # fmt: skip
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj %s endobj\n" % (n, part) for n, part in enumerate(objects, 1))
    return body + f"trailer << /Root 1 0 R {trailer}>>\n%%EOF".encode()


# --- the sandbox ------------------------------------------------------------------------------

DOCUMENTS = {
    "word": (word("Été à Łódź", "R&amp;D"), "Été à Łódź\nR&D\n"),
    "sheet": (
        archive({"xl/sharedStrings.xml": f"{HEAD}<sst><si><t>Budget</t></si><si><t>Total</t></si></sst>",
                 "xl/worksheets/sheet1.xml": f"{HEAD}<worksheet><row><c t='s'><v>77</v></c><c><v>2027</v></c></row>"
                 "</worksheet>"}),
        "Budget\nTotal\n\n\n2027\n",
    ),
    "slides": (
        archive({f"ppt/slides/slide{n}.xml": f"<a:x xmlns:a='a'><a:p><a:t>Slide {n}</a:t></a:p></a:x>"
                 for n in (10, 2)}),
        "Slide 2\n\nSlide 10",
    ),
    "open": (archive({"content.xml": "<o:x xmlns:o='o'><o:p>One <o:s>two</o:s></o:p></o:x>"}), "One two\n"),
    "pdf": (pdf("Quarterly report"), "Quarterly report"),
    "utf-16": ("Größe: 5 €\r\n".encode("utf-16"), "Größe: 5 €\n"),
    "invalid": ("café été ".encode() + b"\xff bon" + b" words" * 10, "café été \ufffd bon words"),
    "nul": (b"one\0two \x1b[31m" + b" words" * 10, "onetwo [31m words"),
}  # fmt: skip


def read(body: bytes, folder: Path, **options: Any) -> str:
    (folder / "file").write_bytes(body)
    (folder / "out").mkdir()
    return previews.read_text(folder / "file", folder / "out", **options)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_text_of_documents_is_read(kind: str, tmp_path: Path) -> None:
    body, text = DOCUMENTS[kind]
    assert text in read(body, tmp_path)


ENTITIES = '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><d><w:t>&b;</w:t></d>'
LOCKED = pdf("secret", trailer="/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O (" + "o" * 32 + ") /U (" + "u" * 32 +
             ") >> /ID [(0123456789abcdef) (0123456789abcdef)] ")  # fmt: skip


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"PK\x03\x04 no zip", "corrupted"),
        (archive({"word/document.xml": HEAD + ENTITIES}), "corrupted"),
        (archive({"word/document.xml": "<w:p>"}), "corrupted"),
        (archive({"word/document.xml": "<a/>"}, password=True), "locked"),
        (archive({"word/document.xml": "<a>" + " " * 130 * 1024**2}), "too_large"),
        (archive({"setup.exe": "no document"}), "unsupported"),
        (b"%PDF-1.4 no more", "corrupted"),
        (LOCKED, "locked"),
        (bytes(range(256)) * 20, "unsupported"),
    ],
    ids=["no zip", "entities", "cut off", "locked", "bomb", "other zip", "no pdf", "locked pdf", "binary"],
)
def test_document_without_readable_text_says_why(body: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(previews.PreviewFailed) as problem:
        read(body, tmp_path)
    assert problem.value.reason == reason


LONG = "".join(f"line {n} of a long report\n" for n in range(60_000))


@pytest.mark.parametrize("body", [word(LONG), pdf(LONG), LONG.encode()], ids=["zip", "pdf", "plain"])
def test_text_is_bounded(body: bytes, tmp_path: Path) -> None:
    # the child counts the two characters that end a line in a PDF
    assert 900_000 < len(read(body, tmp_path)) <= renderer.MAX_TEXT_CHARACTERS


def test_slow_document_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(previews.PreviewFailed) as problem:
        read(pdf(LONG), tmp_path, seconds=0.05)
    assert problem.value.reason == "too_hard"


# --- words ------------------------------------------------------------------------------------


def test_words_are_normalized_and_scripts_without_spaces_are_cut() -> None:
    assert names.index_words("Été, ÉTÉ! naïve_file-name हिन्दी 東京都") == [
        "ete", "naive", "file", "name", "हिन्दी", "東京", "京都", "都",
    ]  # fmt: skip
    assert names.search_terms("Harb at 京都 都") == [("harb", True), ("at", False), ("京都", False), ("都", True)]


def test_excerpt_shows_the_match_as_written() -> None:
    text = "word " * 3_000 + "un bel ÉTÉ à la mer " + "fin " * 100
    excerpt = names.matched_excerpt(text, "ete", characters=60)
    assert excerpt.startswith("…word")
    assert "un bel ÉTÉ à la mer" in excerpt
    assert excerpt.endswith("…")
    assert names.matched_excerpt("complete", "ete", characters=60) == ""


# --- from upload to search --------------------------------------------------------------------


def names_on(response: Any) -> list[str]:
    return sorted(row.name for row in response.context["files"])


def add(owner: User, name: str, text: str, **facts: Any) -> File:
    file = create_row(owner, State.AVAILABLE, name=name, **facts)
    FileContent.objects.start(file)
    FileContent.objects.save_text(file, text)
    return file


def test_uploaded_documents_are_found_by_their_text(as_alice: Client, bucket: Bucket, settings: Settings) -> None:
    client = UploadClient(as_alice)
    files = [client.send(DOCUMENTS["pdf"][0], name="a.pdf"), client.send(b"The harbor at <dawn>", name="b.txt")]
    client.send(b"\x89PNG\r\n\x1a\n", name="c.png")
    enqueued = DBTaskResult.objects.filter(task_path=contents.index_files.module_path)
    assert sorted(pk for row in enqueued for pk in row.args_kwargs["args"][0]) == sorted(str(file.pk) for file in files)
    enqueued.delete()
    assert contents.requeue_lost_contents() == 2
    contents.index_files.call([str(file.pk) for file in files])
    enqueued.delete()
    assert contents.requeue_lost_contents() == 0
    assert names_on(as_alice.get("/?q=QUARTER+rep")) == ["a.pdf"]
    for view in ("table", "grid"):
        page = as_alice.get(f"/?q=DÁWN&view={view}").content.decode()
        assert 'In the text</span> <span dir="auto">The harbor at &lt;<mark>dawn</mark>&gt;</span>' in page
    settings.CONTENT_SEARCH = False
    assert names_on(as_alice.get("/?q=dawn")) == []


@pytest.mark.parametrize("are_common", [False, True])
def test_search_finds_names_or_contents_of_visible_files(
    are_common: bool, alice: User, manager: User, as_bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    if are_common:
        monkeypatch.setattr(content, "MAX_MATCHES", 0)
    add(alice, "by name été.txt", "")
    add(alice, "b.txt", "Un ÉTÉ au bord de la mer")
    add(alice, "c.txt", "hiver")
    add(alice, "private.txt", "été", visibility=Visibility.PRIVATE)
    board = ensure_folder("Board", manager)
    add(manager, "closed.txt", "été", folder=board)
    folders.set_access(board, {Group.objects.get(name="managers"): AccessLevel.MANAGE}, by=manager)
    page = as_bob.get("/?q=ete")
    assert names_on(page) == ["b.txt", "by name été.txt"]
    assert page.context["count_label"] == "2 files"
    assert names_on(as_bob.get("/?q=ete+mer")) == ["b.txt"]
    selected = as_bob.post(reverse("selection_count"), {"all": "1", "query": "?q=ete"})
    assert selected.content == b"All 2 selected"
    for odd in ("'", "\\", "!", "a:*", "&", "(", "ete'", "<->", "''':*", "ete \\'"):
        assert as_bob.get("/", {"q": odd}).status_code == 200


@pytest.mark.parametrize("are_common", [False, True])
@pytest.mark.parametrize("sort", listing.SORTS)
def test_pages_of_hits_give_each_file_once(
    sort: str, are_common: bool, alice: User, as_bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "MAX_MATCHES", 0 if are_common else 1_000)
    monkeypatch.setattr("uploads.listing.pagination.PAGE_SIZE", 10)
    for n in range(12):
        add(alice, f"{n // 3}.txt", "the harbor", size=n // 4)
        add(alice, f"harbor {n // 3}.txt", "", size=n // 4)
        add(alice, f"other {n}.txt", "mountain")
    rows, url = [], f"/?q=harbor&sort={sort}"
    while url:
        page = as_bob.get(url)
        rows += [row.permanent_id for row in page.context["files"]]
        url = page.context["next_url"]
    assert len(rows) == len(set(rows)) == 24


def test_slow_lookup_of_words_is_replaced_by_reading_the_list(
    alice: User, as_bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(alice, "a.txt", "harbor")
    monkeypatch.setattr(content, "MATCH_SECONDS", 0.05)
    lookups: list[str] = []

    def sleep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "@@" in sql and not lookups:
            lookups.append(sql)
            return execute("SELECT pg_sleep(5)", None, many, context)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(sleep):
        assert names_on(as_bob.get("/?q=harbor")) == ["a.txt"]
    assert lookups


def test_text_is_hidden_with_trash_and_versions_and_deleted_with_the_file(
    alice: User, as_alice: Client, bucket: Bucket
) -> None:
    old = add(alice, "a.txt", "harbor")
    actions.trash_file(old, by=alice)
    assert names_on(as_alice.get("/?q=harbor")) == []
    assert names_on(as_alice.get("/trash/?q=harbor")) == ["a.txt"]
    actions.restore_file(old, by=alice)
    File.objects.filter(pk=old.pk).update(series=old.pk, current=False)
    add(alice, "a.txt", "mountain", series=old.pk)
    assert names_on(as_alice.get("/?q=harbor")) == []
    assert names_on(as_alice.get("/?q=mountain")) == ["a.txt"]
    File.objects.filter(pk=old.pk).update(state=State.TRASHED, purge_after="2020-01-01T00:00Z")
    File.objects.filter(pk=old.pk).update(state=State.DELETING)
    erase_all(list(File.objects.filter(pk=old.pk)))
    assert not FileContent.objects.filter(pk=old.pk).exists()


def test_text_of_a_changed_file_is_not_saved(alice: User) -> None:
    file = add(alice, "a.txt", "harbor")
    file.etag = "0" * 32
    FileContent.objects.save_text(file, "changed meanwhile")
    assert FileContent.objects.get().text == "harbor"


def test_files_in_quarantine_are_neither_read_nor_found(alice: User, as_alice: Client, bucket: Bucket) -> None:
    waiting = create_row(alice, State.AVAILABLE, quarantined=True, scan_status=ScanStatus.PENDING, category="text")
    broken = create_row(alice, State.AVAILABLE, checksum_status=ChecksumStatus.CORRUPTED, category="text")
    assert contents.index_files.call([str(waiting.pk), str(broken.pk)]) == 0
    infected = add(alice, "a.txt", "harbor", category="text")
    save_verdict(infected, ScanVerdict(ScanStatus.INFECTED, "Eicar"))
    assert not FileContent.objects.exists()
    FileContent.objects.start(infected)
    FileContent.objects.save_text(infected, "harbor")
    assert names_on(as_alice.get("/?q=harbor")) == []
    save_verdict(waiting, ScanVerdict(ScanStatus.CLEAN))
    assert contents.unindexed().get() == waiting


@pytest.mark.parametrize(
    "text",
    [
        "\0 \ufffe\U0010ffff harbor",
        "harbor " + "\ufdfa" * 200_000,  # each becomes 18 letters
        "harbor " + " ".join(f"{n:x}🌊" for n in range(200_000)),
        "harbor " + "x" * 900_000,
        "harbor " + "".join(map(chr, range(0x4E00, 0x9FFF))) * 20,
    ],
    ids=["nul", "expanding", "many words", "one word", "ideographs"],
)
def test_any_text_can_be_saved_and_found(text: str, alice: User, as_alice: Client) -> None:
    add(alice, "a.txt", text)
    assert names_on(as_alice.get("/?q=harbor")) == ["a.txt"]
    assert len(FileContent.objects.get().text) <= content.MAX_TEXT_CHARACTERS


def test_file_without_text_is_read_once(alice: User, bucket: Bucket) -> None:
    file = create_row(alice, State.AVAILABLE, name="a.docx", detected_type=WORD)
    bucket.write(file.key, b"PK\x03\x04 no zip")
    assert contents.index_files.call([str(file.pk)]) == 1
    assert FileContent.objects.get().reason == "corrupted"
    assert contents.index_files.call([str(file.pk)]) == 0
    call_command("index_contents", retry_failed=True)
    assert contents.index_files.call([str(file.pk)]) == 1


def test_file_that_kills_its_workers_is_given_up(alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    file = create_row(alice, State.AVAILABLE, name="a.docx", detected_type=WORD)
    monkeypatch.setattr(contents, "_read_text", lambda file: (_ for _ in ()).throw(KeyboardInterrupt))
    for _try in range(content.MAX_TRIES):
        with pytest.raises(KeyboardInterrupt):
            contents.index_files.call([str(file.pk)])
    assert contents.index_files.call([str(file.pk)]) == 0
    assert contents.requeue_lost_contents() == 0


def test_unavailable_storage_is_retried_later(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    file = create_row(alice, State.AVAILABLE, name="a.docx", detected_type=WORD)
    monkeypatch.setattr(contents, "_read_text", lambda file: (_ for _ in ()).throw(StorageUnavailable("away")))
    assert contents.index_files.call([str(file.pk)]) == 0
    assert contents.unindexed().get() == file
    assert DBTaskResult.objects.get().args_kwargs["args"] == [[str(file.pk)], 1]
    contents.index_files.call([str(file.pk)], task_queue.MAX_ATTEMPTS)
    assert DBTaskResult.objects.count() == 1


def test_command_enqueues_older_files(alice: User, capsys: Any, settings: Settings) -> None:
    create_row(alice, State.AVAILABLE, name="a.docx", detected_type=WORD)
    create_row(alice, State.AVAILABLE, name="a.png", detected_type="image/png")
    call_command("index_contents", json=True)
    assert '"files": 1' in capsys.readouterr().out
    settings.CONTENT_SEARCH = False
    with pytest.raises(CommandError, match="CONTENT_SEARCH is off"):
        call_command("index_contents")


# --- at scale ---------------------------------------------------------------------------------

MANY_TEXTS = """
    INSERT INTO uploads_filecontent (file_id, text, reason, tries, vector)
    SELECT id, '', '', 1, array_to_tsvector(ARRAY['common', 'word' || n, 'rare' || n / 10])
    FROM (SELECT id, row_number() OVER () AS n FROM uploads_file) AS numbered
"""


def test_rare_words_are_found_with_the_indexes(alice: User) -> None:
    from tests.listing.test_lists import MANY_FILES

    first = add(alice, "first", "")
    FileContent.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(MANY_FILES, {"file": first.pk, "trash": False})
        cursor.execute(MANY_TEXTS)
        cursor.execute("ANALYZE uploads_file, uploads_filecontent")
    statements: list[str] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "@@" in sql:
            cursor = context["cursor"].cursor
            cursor.execute(f"EXPLAIN {sql}", params)
            statements.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(record):
        rows = listing.files_for(alice, ListQuery(q="rare1234"), None)
    (lookup,) = statements
    assert "Bitmap Index Scan on file_content_by_word" in lookup
    plan = listing.pagination.after_cursor(rows, "available_at", descending=True, after=None)[:51].explain()
    assert "file_name_trigrams" in plan
    assert "uploads_file_pkey" in plan
    assert rows.count() == 10
    assert "SubPlan" in listing.files_for(alice, ListQuery(q="common"), None)[:51].explain()
