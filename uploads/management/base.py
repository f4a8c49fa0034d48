"""The base class of all commands: their help, their output and their errors."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, Error, ProgrammingError, connection

import amalga
from amalga.log import single_line
from uploads.errors import Problem, StorageUnavailable
from uploads.management.help import HelpFormatter, epilog_text
from uploads.management.output import ErrorOutput, EscapedOutput, JSONDocument, table_lines, to_json, value_lines

if TYPE_CHECKING:
    from django.contrib.auth.models import User


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
            raise CommandError(f"Error: {text}", returncode=2)

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


INSUFFICIENT_PRIVILEGE = "42501"  # PostgreSQL documentation, "Error Codes"
RATE = re.compile(r"(\d{1,9})([kMG]?)")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def bytes_per_second(text: str) -> int:
    """Parse a `--rate` such as 500k, 50M or 1G. Raises ArgumentTypeError."""
    match = RATE.fullmatch(text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"must be a number of bytes per second, such as 500k, 50M or 1G, not “{text}”")
    return int(match[1]) * UNITS[match[2]]


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return the `type` of an argument that is an integer in this range."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"must be an integer between {minimum:,} and {maximum:,}, not “{text}”")
        return int(text)

    return parse


def find_user(username: str) -> User:
    """Return the user of this name, or raise CommandError with exit code 2."""
    from django.contrib.auth.models import User  # `version` runs without apps

    # an argument that is not UTF-8 arrives with lone surrogates, and Postgres refuses NUL
    user = User.objects.filter(username=username).first() if username.isprintable() else None
    if user is None:
        raise CommandError(f"No user named “{username}”.", returncode=2)
    return user


@contextmanager
def translate_errors(advice: str) -> Iterator[None]:
    """Turn errors of services into a CommandError of one line.

    A refusal has exit code 2. An unavailable storage or database has 1, and `advice` says what to do.
    """
    try:
        yield
    except StorageUnavailable as error:
        raise CommandError(f"Storage is unavailable ({error.detail}). {advice}", returncode=1) from None
    except Problem as problem:
        raise CommandError(problem.message, returncode=2) from None
    except Error as error:
        raise CommandError(f"{_describe(error)} {advice}", returncode=1) from None


def _describe(error: Error) -> str:
    if getattr(error.__cause__, "sqlstate", "") == INSUFFICIENT_PRIVILEGE:
        return "The database role does not have permission for this."
    if isinstance(error, ProgrammingError):
        reason = type(error.__cause__ or error).__name__
        return f"The database rejected a query ({reason}). Check that all migrations are applied."
    return f"The database is unavailable ({type(error).__name__})."
