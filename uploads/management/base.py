"""The base class of all commands, which escapes what they print."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, OutputWrapper

from amalga.log import single_line


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
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        error = parser.error
        parser.error = lambda message: error(single_line(message))  # type: ignore[method-assign]
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
