"""The base class of all commands: their help, their output and their errors."""

from __future__ import annotations

import argparse
import inspect
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import DatabaseError, Error, ProgrammingError, connection

import amalga
from amalga.log import single_line
from uploads.errors import Problem, StorageUnavailable
from uploads.management.output import ErrorOutput, EscapedOutput, JSONDocument, table_lines, to_json, value_lines

INSUFFICIENT_PRIVILEGE = "42501"  # PostgreSQL documentation, "Error Codes"
MAX_WIDTH = 98  # of `--help`
# Options that all commands have from Django. They work, but `--help` leaves them out.
COMMON_OPTIONS = {
    "--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color",
    "--skip-checks",
}  # fmt: skip


class CommandRefused(CommandError):
    """The command refuses its input, or to run as things are: exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=2)


class AmalgaCommand(BaseCommand):
    """The base of all commands.

    A command has a `help` of one imperative line, and an `epilog` of short lines: what it changes, what it never
    changes, its exit codes (0 done, 1 differences or failures, 2 refused or invalid input) and an example:

        epilog = '''
        Changes:        what it writes.
        Never changes:  what one could fear for.

        Exit codes:
          0  done
          2  refused

        Example:
          manage.py revoke 17
        '''

    Its options are in groups (`parser.add_argument_group`). `json_keys` says what each key of its result means; with
    it, the command has `--json`, and reports by `write_values` (or `json_document` for a long list).
    """

    epilog: ClassVar[str] = ""
    json_keys: ClassVar[Mapping[str, str]] = {}
    as_json = False

    stdout: EscapedOutput
    stderr: EscapedOutput

    def __init__(
        self, stdout: Any = None, stderr: Any = None, no_color: bool = False, force_color: bool = False
    ) -> None:
        super().__init__(stdout, stderr, no_color, force_color)
        self.stdout = EscapedOutput(stdout or sys.stdout)
        self.stderr = ErrorOutput(stderr or sys.stderr)
        self.stderr.style_func = None if no_color else self.style.ERROR

    def get_version(self) -> str:
        return amalga.__version__

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser. Its errors are one line, and have exit code 2, also for `call_command`."""
        kwargs.setdefault("formatter_class", HelpFormatter)
        parser = super().create_parser(prog_name, subcommand, epilog=epilog_text(self.epilog), **kwargs)
        if self.json_keys:
            output = parser.add_argument_group("output")
            output.add_argument("--json", action="store_true", help="print one JSON document")

        def error(message: str) -> NoReturn:
            text = single_line(message)
            if parser.called_from_command_line:
                parser.exit(2, f"Error: {text}. See `{parser.prog} --help`.\n")
            raise CommandRefused(f"Error: {text}")

        parser.error = error  # type: ignore[method-assign]
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command, also with the streams that `call_command` passes."""
        if stream := options.pop("stdout", None):
            self.stdout = EscapedOutput(stream)
        if stream := options.pop("stderr", None):
            self.stderr = ErrorOutput(stream)
        self.as_json = bool(options.get("json"))
        return super().execute(*args, **options)

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Run the system checks with raw output: it has several lines and colors, and only settings in it.

        If they stop the command, its error is also written raw.
        """
        self.stderr.is_raw = True
        super().check(*args, **kwargs)
        self.stderr.is_raw = False

    def write_values(self, values: Mapping[str, Any]) -> None:
        """Write the result: with `--json` one JSON object, else `key: value` lines."""
        if self.as_json:
            self.write_json(values)
            return
        for line in value_lines(values, on_terminal=self.stdout.isatty()):
            self.stdout.write(line)

    def write_link(self, values: Mapping[str, Any], link: str) -> None:
        """Write the result of a command that creates a link, with the link as the last line."""
        if self.as_json:
            self.write_json({**values, "link": link})
            return
        self.write_values(values)
        self.stdout.write(link)

    def write_table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table, aligned on a terminal; in a pipe, a line of `column=value` for each row."""
        for line in table_lines(columns, rows, on_terminal=self.stdout.isatty()):
            self.stdout.write(line)

    def write_json(self, value: Any) -> None:
        """Write the value to stdout, as one line."""
        self.stdout.write(to_json(value))

    def json_document(self, list_key: str) -> JSONDocument:
        """Return a JSON document for stdout, with a list that is written item by item."""
        return JSONDocument(self.stdout, list_key)

    @contextmanager
    def tolerate_database_errors(self, label: str) -> Iterator[None]:
        """Report an unavailable database on stderr, and close the connection, so that a loop can try again."""
        try:
            yield
        except DatabaseError as error:
            self.stderr.write(f"{label}: the database is unavailable ({type(error).__name__})")
            connection.close()


@contextmanager
def report_errors(advice: str) -> Iterator[None]:
    """Turn errors of services into a CommandError of one line.

    A refusal has exit code 2. An unavailable storage or database has 1, and `advice` says what to do.
    """
    try:
        yield
    except StorageUnavailable as error:
        raise CommandError(f"Storage is unavailable ({error.detail}). {advice}", returncode=1) from None
    except Problem as problem:
        raise CommandRefused(problem.message) from None
    except Error as error:
        raise CommandError(f"{_describe(error)} {advice}", returncode=1) from None


def _describe(error: Error) -> str:
    if getattr(error.__cause__, "sqlstate", "") == INSUFFICIENT_PRIVILEGE:
        return "The database role does not have permission for this."
    if isinstance(error, ProgrammingError):
        reason = type(error.__cause__ or error).__name__
        return f"The database rejected a query ({reason}). Check that all migrations are applied."
    return f"The database is unavailable ({type(error).__name__})."


# --- the layout of `--help` ------------------------------------------------------------------------


def own_actions(actions: Iterable[argparse.Action]) -> list[argparse.Action]:
    """Return the arguments without those that all commands have."""
    return [action for action in actions if not COMMON_OPTIONS & set(action.option_strings)]


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the lines of the epilog, wrap the rest at 98 columns at most, and leave out what all commands have."""

    def __init__(self, prog: str, indent_increment: int = 2, max_help_position: int = 28) -> None:
        width = min(MAX_WIDTH, shutil.get_terminal_size().columns - 2)
        super().__init__(prog, indent_increment, max_help_position, width)

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *args: Any, **kwargs: Any) -> None:
        super().add_usage(usage, own_actions(actions), *args, **kwargs)

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        super().add_arguments(own_actions(actions))


def epilog_text(text: str) -> str:
    """Return the lines of an epilog without the indentation of the source."""
    return inspect.cleandoc(text)
