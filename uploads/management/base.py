"""What all commands share: their help, output and errors, their arguments, and how they stop."""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar, NoReturn

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import DatabaseError, Error, ProgrammingError, connection
from django.forms import Form

import amalga
from amalga.log import single_line
from uploads.errors import Problem, StorageUnavailable
from uploads.forms import first_error
from uploads.management.output import ErrorOutput, EscapedOutput, JSONDocument, table_lines, to_json, value_lines

INSUFFICIENT_PRIVILEGE = "42501"  # PostgreSQL documentation, "Error Codes"
MAX_WIDTH = 98  # of `--help`
# Options that all commands have from Django. They work, but `--help` leaves them out.
COMMON_OPTIONS = {
    "--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color",
    "--skip-checks",
}  # fmt: skip


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


# --- arguments -----------------------------------------------------------------------------------

RATE = re.compile(r"(\d{1,9})([kMG]?)")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
DURATION = re.compile(r"([0-9]{1,4})([hdw])", re.ASCII)
DAYS = {"h": 1 / 24, "d": 1, "w": 7}


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


def days(text: str) -> float:
    """Parse a duration such as 12h, 7d or 2w into days. Raises ArgumentTypeError."""
    match = DURATION.fullmatch(text)
    if not match or not int(match[1]):
        expected = "a number of hours, days or weeks, such as 12h, 7d or 2w"
        raise argparse.ArgumentTypeError(f"must be {expected}, not “{text}”")
    return int(match[1]) * DAYS[match[2]]


def find_user(username: str) -> User:
    """Return the user of this name, or raise CommandError with exit code 2."""
    # an argument that is not UTF-8 arrives with lone surrogates, and Postgres refuses NUL
    user = User.objects.filter(username=username).first() if username.isprintable() else None
    if user is None:
        raise CommandError(f"No user named “{username}”.", returncode=2)
    return user


def require_valid(form: Form) -> dict[str, Any]:
    """Return the clean data of the form. Raises CommandError with its first error."""
    if not form.is_valid():
        raise CommandError(first_error(form), returncode=2)
    return dict(form.cleaned_data)


# --- how commands stop ---------------------------------------------------------------------------

STOPPED_ADVICE = "Results so far are saved. Run this command again to continue."


@contextmanager
def until_stopped(advice: str = STOPPED_ADVICE) -> Iterator[None]:
    """End the command on Ctrl-C and SIGTERM with one line and exit status 1."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError(f"Stopped. {advice}", returncode=1) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


SLICE_SECONDS = 0.2


class Stop:
    """A request to stop the command. It can be read from any thread."""

    def __init__(self) -> None:
        self.requested = False

    def pause(self, seconds: float) -> None:
        """Sleep for `seconds`, or until a stop is requested."""
        end = time.monotonic() + seconds
        while not self.requested and (remaining := end - time.monotonic()) > 0:
            time.sleep(min(SLICE_SECONDS, remaining))


@contextmanager
def graceful_shutdown() -> Iterator[Stop]:
    """Request a stop after the current step on Ctrl-C and SIGTERM.

    The second signal ends the command at once, with one sentence and exit status 1.
    """
    stop = Stop()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except KeyboardInterrupt:
        raise stopped() from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stopped() -> CommandError:
    return CommandError(f"Stopped. {STOPPED_ADVICE}", returncode=1)
