"""The base class of all commands, which escapes what they print, and what they share: progress, rates, shutdown."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DatabaseError, Error, connection

from amalga.log import single_line
from uploads.errors import Problem, StorageUnavailable
from uploads.humanize import humanize_bytes, humanize_duration


class EscapedOutput(OutputWrapper):
    """Write each text as one line of printable characters.

    Keys, names and messages are untrusted: a line break in them could fake output, an escape sequence clear the screen.
    """

    is_raw = False

    def write(  # type: ignore[override]  # Django's signature
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        """Write the escaped text, styled by `style_func`. Characters missing in the stream's encoding are escaped."""
        ending = self.ending if ending is None else ending
        if not self.is_raw:
            msg = single_line(msg.removesuffix("\n"))
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        super().write(msg.encode(encoding, "backslashreplace").decode(encoding), style_func, ending)

    def write_raw(self, text: str) -> None:
        """Write `text` unescaped: data for another program, or control sequences."""
        self._out.write(text)  # type: ignore[attr-defined]


class AmalgaCommand(BaseCommand):
    """The base of all commands. Their output and errors go through EscapedOutput."""

    stdout: EscapedOutput
    stderr: EscapedOutput

    def __init__(
        self, stdout: Any = None, stderr: Any = None, no_color: bool = False, force_color: bool = False
    ) -> None:
        super().__init__(stdout, stderr, no_color, force_color)
        self.stdout = EscapedOutput(stdout or sys.stdout)
        self.stderr = EscapedOutput(stderr or sys.stderr)
        self.stderr.style_func = None if no_color else self.style.ERROR

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser. Its errors are one line, and have exit status 2, also for `call_command`."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        exit_with_usage = parser.error

        def error(message: str) -> NoReturn:
            if parser.called_from_command_line:
                exit_with_usage(single_line(message))
            raise CommandError(f"Error: {single_line(message)}", returncode=2)

        parser.error = error  # type: ignore[method-assign]
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command, also with the streams that `call_command` passes."""
        for name in ("stdout", "stderr"):
            if stream := options.pop(name, None):
                setattr(self, name, EscapedOutput(stream))
        return super().execute(*args, **options)

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Run the system checks with raw output: it has several lines and colors, and only settings in it.

        If they stop the command, its error is also written raw.
        """
        self.stderr.is_raw = True
        super().check(*args, **kwargs)
        self.stderr.is_raw = False

    def write_json(self, value: Any) -> None:
        """Write the value to stdout, as one line."""
        self.stdout.write(json.dumps(value, default=str))

    @contextmanager
    def tolerate_database_errors(self, label: str) -> Iterator[None]:
        """Report an unavailable database on stderr, and close the connection, so that a loop can try again."""
        try:
            yield
        except DatabaseError as error:
            self.stderr.write(f"{label}: the database is unavailable ({type(error).__name__})")
            connection.close()


RATE = re.compile(r"(\d{1,9})([kMG]?)")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def bytes_per_second(text: str) -> int:
    """Parse a `--rate` such as 500k, 50M or 1G. Raises ArgumentTypeError."""
    match = RATE.fullmatch(text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes a second, such as 500k, 50M or 1G")
    return int(match[1]) * UNITS[match[2]]


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return the `type` of an argument that is an integer in this range."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} must be an integer between {minimum} and {maximum}")
        return int(text)

    return parse


def find_user(username: str) -> User:
    """Return the user of this name, or raise CommandError with exit status 2."""
    # an argument that is not UTF-8 arrives with lone surrogates, and Postgres refuses NUL
    user = User.objects.filter(username=username).first() if username.isprintable() else None
    if user is None:
        raise CommandError(f"There is no user called {username!r}.", returncode=2)
    return user


@contextmanager
def translate_errors(advice: str) -> Iterator[None]:
    """Turn errors of services into a CommandError of one line.

    A refusal has exit status 2. An unavailable storage or database has 1, and `advice` says what to do.
    """
    try:
        yield
    except StorageUnavailable as error:
        raise CommandError(f"The storage is unavailable ({error.detail}). {advice}", returncode=1) from None
    except Problem as problem:
        raise CommandError(problem.message, returncode=2) from None
    except Error as error:
        raise CommandError(f"The database is unavailable ({type(error).__name__}). {advice}", returncode=1) from None


SECONDS_ON_A_TERMINAL = 0.2
SECONDS_IN_A_PIPE = 10.0


class Progress:
    """Show the progress of a long command on stderr, as stdout is for results. A context manager.

    On a terminal, one line is overwritten; in a pipe, a line is added every ten seconds; `quiet` shows nothing.
    `total` is the expected number of steps and `total_bytes` that of bytes; with either, the remaining time is shown.
    Not thread-safe.
    """

    def __init__(
        self,
        stream: EscapedOutput,
        label: str,
        *,
        total: int | None = None,
        total_bytes: int | None = None,
        quiet: bool = False,
    ) -> None:
        self.done = 0
        self.bytes = 0
        self._stream = stream
        self._label = label
        self._total = total
        self._total_bytes = total_bytes
        self._quiet = quiet
        self._is_terminal = stream.isatty()
        self._started_at = time.monotonic()
        self._shown_at = self._started_at if not self._is_terminal else 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal and not self._quiet and self._shown_at:
            self._stream.write_raw("\r\x1b[K")

    def step(self, steps: int = 1, *, bytes: int = 0) -> None:
        """Count completed steps and their bytes, and update the display if it is due."""
        self.done += steps
        self.bytes += bytes
        if self._quiet:
            return
        now = time.monotonic()
        if now - self._shown_at >= (SECONDS_ON_A_TERMINAL if self._is_terminal else SECONDS_IN_A_PIPE):
            self._shown_at = now
            line = self._line(now - self._started_at)
            self._stream.write_raw(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
            self._stream.flush()

    def _line(self, seconds: float) -> str:
        line = f"{self._label}: {self.done:,}"
        if self._total is not None:
            line += f" of {self._total:,}"
        if self.bytes:
            line += f", {humanize_bytes(self.bytes)}, {humanize_bytes(self.bytes / seconds)}/s"
        remaining = self._seconds_left(seconds)
        return line if remaining is None else f"{line}, {humanize_duration(remaining)} left"

    def _seconds_left(self, seconds: float) -> float | None:
        if self._total_bytes and self.bytes:
            return seconds * max(0, self._total_bytes - self.bytes) / self.bytes
        if self._total and self.done:
            return seconds * max(0, self._total - self.done) / self.done
        return None


STOPPED_ADVICE = "What is done stays done; run it again to go on."


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
