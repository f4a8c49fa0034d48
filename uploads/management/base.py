"""What every command of ours is built on: whatever it prints is escaped."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, OutputWrapper

from amalga.log import single_line


class EscapedOutput(OutputWrapper):
    """Writes each text as one line of printable characters.

    Keys, names and messages come from outside. With a line break in it, one would write lines that look like ours; with
    an escape sequence, one would clear the screen.
    """

    is_raw = False

    def write(  # type: ignore[override]  # as Django has it
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        """`style_func` is applied to the escaped text. What the stream's encoding lacks is escaped as well."""
        ending = self.ending if ending is None else ending
        if not self.is_raw:
            msg = single_line(msg.removesuffix("\n"))
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        super().write(msg.encode(encoding, "backslashreplace").decode(encoding), style_func, ending)

    def write_raw(self, text: str) -> None:
        """Write `text` as it is: data that another program reads, or what moves the cursor."""
        self._out.write(text)  # type: ignore[attr-defined]


class AmalgaCommand(BaseCommand):
    """The base of all commands: what they and their errors say goes through EscapedOutput."""

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
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        error = parser.error
        parser.error = lambda message: error(single_line(message))  # type: ignore[method-assign]
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """As `call_command` calls it, with streams of its own."""
        for name in ("stdout", "stderr"):
            if stream := options.pop(name, None):
                setattr(self, name, EscapedOutput(stream))
        return super().execute(*args, **options)

    def check(self, *args: Any, **kwargs: Any) -> None:
        """The system checks report in many lines, painted, and of our settings alone. Where they stop the command, the
        error that does so is written as it is too."""
        self.stderr.is_raw = True
        super().check(*args, **kwargs)
        self.stderr.is_raw = False
