"""The help of every command: one imperative line, options in groups, and an epilog that says what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import amalga
from amalga.settings import BASE_DIR
from tests.support import commands
from tests.support.words import advice, banned_words

MAX_LINES = 40
MAX_COLUMNS = 100
IMPERATIVE = re.compile(r"[A-Z][a-z]+(?<!s)(?<!ing)(?<!ed) [^\n]{3,70}\.")
EXIT_CODE = re.compile(r"  [0-2]  [a-z-].*|     \S.*")

every_command = pytest.mark.parametrize("name", commands.names())


@every_command
def test_help_is_one_imperative_line(name: str) -> None:
    assert IMPERATIVE.fullmatch(commands.command(name).help)


@every_command
def test_help_fits_on_a_screen(name: str) -> None:
    lines = commands.help_text(name).splitlines()
    assert len(lines) < MAX_LINES
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


@every_command
def test_epilog_has_changes_exit_codes_and_an_example(name: str) -> None:
    text = commands.help_text(name)
    assert "\nChanges:" in text
    assert "\nNever changes:" in text or "\nChanges: nothing" in text
    codes = text.partition("\nExit codes:\n")[2].partition("\n\n")[0].splitlines()
    assert codes
    assert [line for line in codes if not EXIT_CODE.fullmatch(line)] == []
    example = text.partition("\nExample:\n")[2].splitlines()
    assert example
    assert all(line.startswith(f"  manage.py {name}") for line in example[:1])


@every_command
def test_every_option_is_in_a_group_and_says_what_it_does(name: str) -> None:
    for title, actions in commands.groups(name):
        assert title not in {"options", ""}
        assert [action.dest for action in actions if not re.match("[a-z0-9]", action.help or "")] == []


@every_command
def test_json_keys_are_documented_for_every_reporting_command(name: str) -> None:
    options = {option for _, actions in commands.groups(name) for action in actions for option in action.option_strings}
    assert ("--json" in options) == bool(commands.command(name).json_keys)
    assert bool(commands.command(name).json_keys) == (name not in {"create_admin", "worker"})


@every_command
def test_help_has_no_banned_words(name: str) -> None:
    keys = "\n".join(commands.command(name).json_keys.values())
    matches = list(banned_words([(name, commands.help_text(name)), (name, keys)]))
    assert not matches, advice(matches)


def test_the_page_about_commands_is_current() -> None:
    """`make commands` writes it."""
    assert commands.PAGE.read_text() == commands.page()


@pytest.mark.parametrize("arguments", [["version"], ["--version"]], ids=str)
def test_version_needs_no_settings(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=BASE_DIR, env={}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"amalga: {amalga.__version__}"
