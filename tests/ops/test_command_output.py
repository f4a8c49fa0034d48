"""Hostile keys, names and messages neither stop a command nor imitate its output."""

from __future__ import annotations

import ast
import importlib
import io
import json
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from amalga.log import PlainFormatter, field_value, print_exception
from tests.amalga.test_log_format import record
from tests.code.test_architecture import APP, PROJECT, module_of, sources
from tests.support import factories
from tests.support.stores import Bucket
from uploads import s3
from uploads.management import commands
from uploads.management.base import AmalgaCommand
from uploads.management.output import EscapedOutput, Progress
from uploads.models import ChecksumStatus, File, Installation, Origin
from uploads.names import normalize_for_search

FORGED = "in sync: yes"
HOSTILE = [
    "\x1b]0;title\x07\x1b[2J\x1b[31mred.txt", f"two\nlines\n{FORGED}", f"a\r\x1b[K{FORGED}.txt", "\u202egpj.exe",
    f"line\u2028{FORGED}", "\x9b2Jcsi.txt", "\uff3cn\uff3cx41.txt", "end\uff3c", "\uff3c0nul", "\uff3c.",
    "x\uff3c/y.txt", "\uff3cN", "back\\slash.txt", "\\N", "\\.", "=cmd.csv", "\ttab.txt", " nbsp\u00a0.txt", "%2e%2e",
    "'; DROP TABLE x;--", "\ufdfa" * 255, "%(x)s %s {0}", "\x7fdel", "a\u0300\u0323" * 100,
]  # fmt: skip


def run_from_argv(command: str, *args: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines of both streams as on a terminal, with errors as `manage.py` prints them."""
    out = io.StringIO()
    instance: Any = importlib.import_module(f"uploads.management.commands.{command}").Command(stdout=out, stderr=out)
    code = 0
    try:
        instance.run_from_argv(["manage.py", command, *args])
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, out.getvalue().splitlines()


def assert_plain(lines: list[str]) -> None:
    assert lines
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if line.strip().startswith(FORGED)] == []


# --- the output of all commands ---------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_output_of_hostile_text_is_one_printable_line(text: str) -> None:
    stream = io.StringIO()
    EscapedOutput(stream).write(f"orphan: f/{text}")
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert line.startswith("orphan: f/")


def test_output_escapes_characters_that_the_terminal_cannot_encode() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    EscapedOutput(stream).write("orphan: f/été 🎉")
    stream.flush()
    assert stream.buffer.getvalue() == b"orphan: f/\\xe9t\\xe9 \\U0001f389\n"


def test_progress_overwrites_its_own_line() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with Progress(EscapedOutput(stream), "fsck") as progress:
        progress.step()
    assert stream.getvalue() == "\r\x1b[Kfsck: 1\r\x1b[K"


def test_every_command_escapes_its_output() -> None:
    """Except `migrate`, which is Django's and prints nothing from outside."""
    names = {module.name for module in pkgutil.iter_modules(commands.__path__)} - {"migrate"}
    classes = {name: importlib.import_module(f"{commands.__name__}.{name}").Command for name in names}
    assert {name for name, class_ in classes.items() if not issubclass(class_, AmalgaCommand)} == set()
    assert all(isinstance(class_().stdout, EscapedOutput) for class_ in classes.values())
    assert all(isinstance(class_().stderr, EscapedOutput) for class_ in classes.values())


RAW = {"uploads.management.output", "uploads.management.commands.export_manifest"}  # own text; exported data
# the streams themselves, and passwords from stdin
STREAMS = {"uploads.management.base", "uploads.management.commands.create_admin", "uploads.management.commands.share"}


def test_only_listed_modules_write_to_the_terminal() -> None:
    names_of: dict[str, set[str]] = {}
    for path in sources(APP):
        words = set(ast_names(ast.parse(path.read_text())))
        names_of[module_of(path)] = words & {"print", "write_raw", "OutputWrapper", "pprint"}
    raw = {module for module, words in names_of.items() if "write_raw" in words}
    assert raw == RAW
    assert {module for module, words in names_of.items() if words & {"print", "pprint", "OutputWrapper"}} <= STREAMS
    streams = {path for path in sources(APP) if "sys.std" in path.read_text()}
    assert {module_of(path) for path in streams} == STREAMS


def ast_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield name


def test_an_error_that_names_hostile_text_is_one_line(transactional_db: None) -> None:
    for text in HOSTILE:
        code, lines = run_from_argv("reset_two_factor", f"erin{text}")
        assert (code, len(lines)) == (2, 1)
        assert_plain(lines)


def test_refused_argument_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run_from_argv("fsck", f"\x1b[2J\n{FORGED}")
    assert code == 2
    assert_plain([line for line in capsys.readouterr().err.splitlines() if line])


def test_an_uncaught_exception_is_printed_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError(f"f/\x1b[2J\r\n{FORGED} password=Hunter22")
    except RuntimeError:
        print_exception(*sys.exc_info())
    output = capsys.readouterr().err
    assert "RuntimeError: f/" in output
    assert "Hunter22" not in output
    assert_plain(output.splitlines())


# --- commands over a bucket with hostile keys ---------------------------------------------------


@pytest.fixture
def odd(digest_bucket: Bucket, transactional_db: None) -> Bucket:
    """A bucket with our marker; its storage accepts any key."""
    s3.write_marker(Installation.objects.own_id())
    return digest_bucket


@pytest.mark.parametrize("json_output", [True, False], ids=["json", "text"])
def test_import_of_hostile_keys_completes_and_keeps_each_key(odd: Bucket, alice: User, json_output: bool) -> None:
    for name in HOSTILE:
        odd.write(f"imp/{name}", b"hello")
    code, lines = run_from_argv(
        "import_bucket", "imp/", "--owner=alice", "--apply", *(["--json"] if json_output else [])
    )
    assert_plain(lines)
    refused = int(code == 1)
    names_by_key = dict(File.objects.values_list("key", "name"))
    assert len(HOSTILE) - len(names_by_key) <= 3 * refused  # `\\.` and similar keys are not valid names
    assert {f"imp/{name}" for name in HOSTILE if "\uff3c" in name} <= set(names_by_key)
    assert all(
        normalized_name == normalize_for_search(name)
        for name, normalized_name in File.objects.values_list("name", "normalized_name")
    )
    if json_output:
        document = json.loads("\n".join(line for line in lines if not line.startswith("Error: ")))
        assert document["files"] == len(names_by_key)


@pytest.mark.parametrize("json_output", [True, False], ids=["json", "text"])
def test_fsck_prints_hostile_keys_in_one_line_each(odd: Bucket, json_output: bool) -> None:
    for name in HOSTILE:
        odd.write(f"f/{name}", b"hello")
    code, lines = run_from_argv("fsck", "--min-age=0", "--allow-empty-database", *(["--json"] if json_output else []))
    assert code == 1
    assert_plain(lines)
    lines_of_findings = [line for line in lines if "foreign" in line]
    assert len(lines_of_findings) >= len(HOSTILE)
    if json_output:
        document = json.loads("\n".join(line for line in lines if not line.startswith("Error: ")))
        keys = {finding["key"] for finding in document["findings"]}
        assert {f"f/{name}" for name in HOSTILE} <= keys


@pytest.mark.parametrize(("command", "args"), [
    ("verify", ["--metadata-only", "--max-missing=99"]), ("verify", ["--all", "--max-missing=99"]),
    ("fsck", ["--min-age=0"]),
])  # fmt: skip
def test_commands_print_hostile_rows_in_one_line_each(odd: Bucket, alice: User, command: str, args: list[str]) -> None:
    facts: dict[str, Any] = {"origin": Origin.IMPORTED, "checksum": "", "checksum_status": ChecksumStatus.UNVERIFIED}
    for name in HOSTILE:
        factories.create_file(alice, key=f"imp/{name}", **facts)
    code, lines = run_from_argv(command, *args)
    assert code == 1
    assert len(lines) > len(HOSTILE)
    assert_plain(lines)


def test_hostile_keys_are_removed_together_with_others(odd: Bucket) -> None:
    """The DeleteObjects request is XML, which cannot contain control characters."""
    keys = [f"imp/{name}" for name in [*HOSTILE, "plain.txt"]]
    for key in keys:
        odd.write(key, b"hello")
    assert s3.delete_many(keys) == {}
    assert set(odd.objects()) & set(keys) == set()


# --- logs --------------------------------------------------------------------------------------

FROM_OUTSIDE = {"key", "name", "username", "filename", "prefix", "folder"}
CHECKED = {  # they log only letters, digits, dots and dashes, or values of settings
    "uploads.management.commands.database_login", "uploads.services.provision", "uploads.s3.client",
}  # fmt: skip


@pytest.mark.parametrize("text", [*HOSTILE, "x file=1 by=2", 'a"b', "", " "])
def test_hostile_text_stays_in_its_log_field(text: str) -> None:
    line = PlainFormatter().format(record("multipart_aborted key=%s initiated=%s", field_value(text), "now"))
    assert line.isprintable()
    key = line.partition(" key=")[2].partition(" initiated=now")[0]
    assert key.startswith('"') or (not set(' ="') & set(key) and key)


def test_a_plain_key_is_logged_as_it_is() -> None:
    assert field_value("photos/2024/é.jpg") == "photos/2024/é.jpg"


def test_log_calls_quote_values_from_outside() -> None:
    modules = set()
    for path in [*sources(APP), *sources(PROJECT / "amalga")]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"), attr=level), args=args) if level != "log":
                    assert isinstance(args[0], ast.Constant | ast.Name), f"{path}: a message is a constant"
                    plain = [argument for argument in args[1:] if isinstance(argument, ast.Name | ast.Attribute)]
                    named = {argument.id if isinstance(argument, ast.Name) else argument.attr for argument in plain}
                    modules |= {module_of(path)} if named & FROM_OUTSIDE else set()
    assert modules == CHECKED
