"""Results of commands: `key: value` lines and tables for people and pipes, and one JSON document for programs."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.ops.test_command_output import run_from_argv
from tests.support import commands
from tests.support.stores import Bucket
from uploads.management.output import EscapedOutput, JSONDocument, table_lines, value_lines

VALUES: dict[str, Any] = {
    "files": 1234, "total_bytes": 12_400_000, "applied": True, "owner": None,
    "at": datetime(2026, 11, 28, 9, tzinfo=UTC), "rows": {"count": 7, "sha256": "ab"}, "origins": ["a", "b"],
}  # fmt: skip


def test_values_on_a_terminal_are_aligned_and_have_units() -> None:
    assert list(value_lines(VALUES, on_terminal=True)) == [
        "files:       1,234",
        "total bytes: 12,400,000 (12.4 MB)",
        "applied:     yes",
        "owner:       -",
        "at:          2026-11-28 09:00:00 UTC",
        "rows count:  7",
        "rows sha256: ab",
        "origins:     a, b",
    ]


def test_values_in_a_pipe_are_not_aligned() -> None:
    assert list(value_lines(VALUES, on_terminal=False))[:3] == ["files: 1234", "total bytes: 12400000", "applied: yes"]
    assert list(value_lines({"files": 1234}, on_terminal=False)) == ["files: 1234"]


ROWS = [("total", "", 7), ("folder", "a b", 12_345)]


def test_a_table_on_a_terminal_has_a_heading_and_columns() -> None:
    assert list(table_lines(("kind", "key", "files"), ROWS, on_terminal=True)) == [
        "kind    key  files",
        "total        7",
        "folder  a b  12,345",
    ]
    assert list(table_lines(("kind",), [], on_terminal=True)) == []


def test_a_table_in_a_pipe_is_a_line_of_fields_for_each_row() -> None:
    assert list(table_lines(("kind", "key", "stored files"), ROWS, on_terminal=False)) == [
        'kind=total key="" stored_files=7',
        'kind=folder key="a b" stored_files=12345',
    ]


def test_a_long_document_is_written_item_by_item() -> None:
    stream = io.StringIO()
    with JSONDocument(EscapedOutput(stream), "findings") as document:
        document.add({"key": "f/a\nb"})
        document.add({"key": "f/c"})
        assert len(stream.getvalue().splitlines()) == 3
        document.end({"report": 1})
    assert json.loads(stream.getvalue()) == {"findings": [{"key": "f/a\nb"}, {"key": "f/c"}], "report": 1}


@pytest.mark.parametrize("items", [0, 1, 2])
def test_interrupted_document_is_valid_json_with_the_error(items: int) -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), JSONDocument(EscapedOutput(stream), "findings") as document:  # noqa: PT012
        for number in range(items):
            document.add({"key": number})
        raise RuntimeError("Stopped.")
    assert json.loads(stream.getvalue()) == {"findings": [{"key": n} for n in range(items)], "error": "Stopped."}


@pytest.mark.parametrize(
    "arguments",
    [
        ["after_restore"], ["doctor"], ["export_manifest", "--to-bucket"], ["fsck"], ["fsck", "--repair"],
        ["import_bucket", "photos/", "--owner=alice"], ["previews"], ["recount"], ["reset_two_factor", "alice"],
        ["sweep"], ["verify"], ["version"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_json_has_only_documented_keys(
    marked: Bucket, transactional_db: None, alice: User, arguments: list[str]
) -> None:
    if "--repair" in arguments:
        run_from_argv("fsck")
    _code, lines = run_from_argv(*arguments, "--json")
    document = json.loads("\n".join(line for line in lines if not line.startswith("Error: ")))
    assert document
    assert set(document) - set(commands.command(arguments[0]).json_keys) == set()


def test_a_manifest_in_a_file_is_described_in_json(transactional_db: None, alice: User, tmp_path: Path) -> None:
    code, (line,) = run_from_argv("export_manifest", f"--output={tmp_path / 'manifest'}", "--json")
    assert (code, json.loads(line)["destination"]) == (0, str(tmp_path / "manifest"))
