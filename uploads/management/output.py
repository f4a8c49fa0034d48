"""What commands print: escaped lines, `key: value` lines, tables, JSON documents, and their progress on stderr."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

from django.core.management.base import OutputWrapper

from amalga.log import single_line
from uploads.humanize import humanize_bytes, humanize_duration, humanize_time

DJANGO_ERROR = re.compile(r"\ACommand(?:Error|Refused): ")

SECONDS_ON_A_TERMINAL = 0.2
SECONDS_IN_A_PIPE = 10.0


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


class ErrorOutput(EscapedOutput):
    """Begin errors with "Error: ", not with the name of the exception."""

    def write(  # type: ignore[override]  # Django's signature
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        super().write(DJANGO_ERROR.sub("Error: ", msg), style_func, ending)


def value_lines(values: Mapping[str, Any], *, on_terminal: bool) -> Iterator[str]:
    """Yield a `key: value` line for each value; those of nested mappings are called `outer inner`.

    On a terminal the values are aligned, and numbers are grouped; in a pipe, neither depends on the other lines.
    """
    pairs = list(_flatten(values))
    width = max((len(key) for key, _ in pairs), default=0) + 1 if on_terminal else 0
    for key, value in pairs:
        yield f"{f'{key}:':{width}} {format_value(key, value, on_terminal=on_terminal)}".rstrip()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        label = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{label} ")
        else:
            yield label, value


def format_value(key: str, value: Any, *, on_terminal: bool) -> str:
    """Return a value as text. On a terminal numbers are grouped, and those of bytes also have a unit."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if not on_terminal:
            return str(value)
        is_long_size = key.endswith("bytes") and value >= 1000
        return f"{value:,} ({humanize_bytes(value)})" if is_long_size else f"{value:,}"
    if isinstance(value, datetime):
        return humanize_time(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, on_terminal: bool) -> Iterator[str]:
    """Yield the lines of a table.

    On a terminal it has a heading and aligned columns. In a pipe each row is one line of `column=value`, quoted like
    JSON where it has to be.
    """
    if not on_terminal:
        for row in rows:
            pairs = zip(columns, row, strict=True)
            yield " ".join(f"{name.replace(' ', '_')}={_field(name, value)}" for name, value in pairs)
        return
    texts = [[format_value(name, value, on_terminal=True) for name, value in zip(columns, row, strict=True)]
             for row in rows]  # fmt: skip
    if not texts:
        return
    widths = [max(len(line[number]) for line in (columns, *texts)) for number in range(len(columns))]
    for line in (columns, *texts):
        yield "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip()


def _field(name: str, value: Any) -> str:
    text = format_value(name, value, on_terminal=False)
    is_plain = text.isprintable() and text and not set(' ="') & set(text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def to_json(value: Any) -> str:
    return json.dumps(value, default=_json_value)


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


class JSONDocument:
    """One JSON object with a list in it that is written item by item: it can be longer than the memory.

    Each item is a line. A context manager: on an exception the document ends with an `error`, and is still valid JSON.
    """

    def __init__(self, stream: EscapedOutput, list_key: str) -> None:
        self._stream = stream
        self._list_key = list_key
        self._count = 0
        self._has_ended = False

    def __enter__(self) -> JSONDocument:
        self._stream.write(f'{{"{self._list_key}": [', ending="")
        return self

    def add(self, item: Mapping[str, Any]) -> None:
        self._stream.write("," if self._count else "")
        self._stream.write(to_json(item), ending="")
        self._count += 1

    def end(self, values: Mapping[str, Any]) -> None:
        """Write the other values, and end the document."""
        self._has_ended = True
        if self._count:
            self._stream.write("")
        ending = to_json(values)[1:]
        self._stream.write(f"]{'' if ending == '}' else ', '}{ending}")

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._has_ended:
            self.end({"error": str(error)} if error else {})


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
