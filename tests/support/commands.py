"""Run the management commands of this project, read their parsers, and write the documentation page about them.

`python -m tests.support.commands` writes docs/commands.md (`make commands`).
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import django
from django.core.management import CommandError, call_command
from django.core.management.base import CommandParser

from uploads.management.base import AmalgaCommand, epilog_text, own_actions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
PACKAGE = "uploads.management.commands"
CODE = re.compile(r"(?<![`\w-])(?:--[a-z][a-z-]+|[A-Z][A-Z0-9]*_[A-Z0-9_]*\*?(?:=\w+)?)(?!`)")
OF_DJANGO = {"migrate"}  # Django's command, which ours only runs without a statement timeout
INTRODUCTION = """\
# Commands

For administrators: every management command of Amalga, with its options, exit codes and output. This page is generated
from the commands; `manage.py COMMAND --help` shows the same.

| Installation | How to run a command |
|---|---|
| [Docker Compose](../deploy/server.md) | `docker compose run --rm web python manage.py COMMAND` |
| [systemd](getting-started/systemd.md) | `amalga COMMAND` |
| [AWS](getting-started/aws.md) | `deploy/aws/run.sh COMMAND` |
| [Laptop](getting-started/laptop.md) | `.venv/bin/python -m amalga.local .venv/bin/python manage.py COMMAND` |

- Commands that change many things only report what they would do. With `--apply` they do it.
- Exit code 0 means done, 1 means differences or failures, and 2 means refused or invalid input.
- Results are `key: value` lines on standard output, aligned on a terminal. With `--json` they are one JSON document.
  Errors and progress are on standard error.
- Every command also has Django's options, among them `--help`, `--no-color` and `--traceback`.
- Django's own commands work too: `migrate`, `changepassword USERNAME`, `check --deploy`, `dbshell`.
"""


class CommandResult(NamedTuple):
    status: int  # the exit status
    output: str  # standard output
    errors: str  # standard error, which ends with the message of a failure


def run_command(*arguments: object) -> CommandResult:
    """Run a management command in this process, and return its result, also if it fails."""
    output, errors = io.StringIO(), io.StringIO()
    try:
        call_command(*map(str, arguments), stdout=output, stderr=errors)
    except CommandError as error:
        return CommandResult(error.returncode, output.getvalue(), f"{errors.getvalue()}{error}")
    return CommandResult(0, output.getvalue(), errors.getvalue())


def check_output(*arguments: object) -> str:
    """Run a management command in this process, and return its standard output.

    Raises the CommandError of a command that fails, like `subprocess.check_output`.
    """
    output = io.StringIO()
    call_command(*map(str, arguments), stdout=output, stderr=io.StringIO())
    return output.getvalue()


def names() -> list[str]:
    package = importlib.import_module(PACKAGE)
    return sorted({module.name for module in pkgutil.iter_modules(package.__path__)} - OF_DJANGO)


def command(name: str) -> AmalgaCommand:
    instance = importlib.import_module(f"{PACKAGE}.{name}").Command()
    assert isinstance(instance, AmalgaCommand)
    return instance


def parser(name: str) -> CommandParser:
    return command(name).create_parser("manage.py", name)


def help_text(name: str, *, columns: int = 100) -> str:
    """Return what `--help` prints on a terminal of this width."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(columns)
    try:
        return parser(name).format_help()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def groups(name: str) -> Iterator[tuple[str, list[argparse.Action]]]:
    """Yield the title and the arguments of each group."""
    for group in parser(name)._action_groups:
        if actions := own_actions(group._group_actions):
            yield group.title or "", actions


def page() -> str:
    """Return docs/commands.md."""
    index = ["| Command | What it does |", "|---|---|"]
    index += [f"| [`{name}`](#{name}) | {command(name).help} |" for name in names()]
    return "\n".join([INTRODUCTION, *index, "", *(line for name in names() for line in _section(name))]).rstrip() + "\n"


def _section(name: str) -> Iterator[str]:
    described = command(name)
    paragraphs = epilog_text(described.epilog).split("\n\n")
    yield from (f"## {name}", "", f"**{described.help}**", "")
    for paragraph in paragraphs:
        if paragraph.startswith("Example:"):
            yield from ("```sh", *textwrap.dedent(paragraph.partition("\n")[2]).splitlines(), "```", "")
    for paragraph in paragraphs:
        if not re.match(r"Changes:|Exit codes:|Example:", paragraph):
            yield from (_wrapped(paragraph), "")
    yield from _options(name)
    for paragraph in paragraphs:
        if paragraph.startswith("Changes:"):
            for part in re.split(r"\n(?=Never changes:)", paragraph):
                title, _, text = part.partition(":")
                yield from (_wrapped(f"**{title}:** {text}"), "")
        elif paragraph.startswith("Exit codes:"):
            yield from _exit_codes(paragraph)
    if described.json_keys:
        yield from ("| Key (`--json`) | Meaning |", "|---|---|")
        yield from (f"| `{key}` | {_as_markdown(meaning)} |" for key, meaning in described.json_keys.items())
        yield ""


def _options(name: str) -> Iterator[str]:
    lines = [
        f"| {title} | `{_invocation(action)}` | {_meaning(action)} |"
        for title, actions in groups(name)
        for action in actions
        if action.dest != "json"
    ]
    if lines:
        yield from ("| Group | Option | Meaning |", "|---|---|---|", *lines, "")


def _invocation(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        choices = "\\|".join(map(str, action.choices or ()))
        value = str(action.metavar or choices or action.dest.upper())
    if action.option_strings:
        return f"{action.option_strings[-1]} {value}".rstrip()
    return f"[{value}]" if action.nargs in {"?", "*"} else value


def _meaning(action: argparse.Action) -> str:
    text = _as_markdown((action.help or "").replace("%%", "%"))
    return f"{text} (required)" if action.required and action.option_strings else text


def _exit_codes(paragraph: str) -> Iterator[str]:
    codes = re.split(r"\n  (?=\d  )", paragraph)[1:]
    yield from ("| Exit code | Meaning |", "|---|---|")
    yield from (f"| {code[0]} | {_as_markdown(' '.join(code[1:].split()))} |" for code in codes)
    yield ""


def _wrapped(text: str) -> str:
    return textwrap.fill(
        _as_markdown(" ".join(text.split())), width=118, break_long_words=False, break_on_hyphens=False
    )


def _as_markdown(text: str) -> str:
    """Return a text with its options and variables as code."""
    return CODE.sub(r"`\g<0>`", text)


if __name__ == "__main__":
    django.setup()
    PAGE.write_text(page())
