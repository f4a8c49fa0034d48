"""What commands print: escaped lines, `key: value` lines, tables and JSON documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from django.core.management.base import OutputWrapper

from amalga.log import single_line
from uploads.humanize import humanize_bytes

DJANGO_ERROR = "CommandError: "


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
    """Begin errors with "Error: ", not with the name of Django's exception."""

    def write(  # type: ignore[override]  # Django's signature
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        if msg.startswith(DJANGO_ERROR):
            msg = f"Error: {msg.removeprefix(DJANGO_ERROR)}"
        super().write(msg, style_func, ending)


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
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
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
        rest = to_json(values)[1:]
        self._stream.write(f"]{'' if rest == '}' else ', '}{rest}")

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._has_ended:
            self.end({"error": str(error)} if error else {})
