"""One line for an object: `key TAB size TAB etag`, the same on both sides, and what is counted of them.

Anybody gets the same digest with `COPY (SELECT key, size, etag …) TO STDOUT` and `sha256sum`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

ESCAPED = re.compile(r"\\.")
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})


def line_of(key: str, size: int, etag: str) -> str:
    if "\\" in key or "\t" in key or "\n" in key:
        key = key.translate(ESCAPES)
    return f"{key}\t{size}\t{etag}\n"


def key_of(line: str) -> str:
    key = line.rsplit("\t", 2)[0]
    return key if "\\" not in key else _unescaped(key)


def size_of(line: str) -> int:
    return int(line.rsplit("\t", 2)[1])


def lines_of(text: str) -> list[str]:
    return [f"{line}\n" for line in text.split("\n")[:-1]]


def _unescaped(key: str) -> str:
    plain = {"\\\\": "\\", "\\t": "\t", "\\n": "\n"}
    return ESCAPED.sub(lambda found: plain[found[0]], key)


class Tally:
    """What one side holds: how many, how many bytes, and the SHA-256 of its lines."""

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def add(self, text: str, *, count: int, bytes: int) -> None:
        self.count += count
        self.bytes += bytes
        self._digest.update(text.encode())

    def add_lines(self, lines: Iterable[str]) -> None:
        kept = list(lines)
        self.add("".join(kept), count=len(kept), bytes=sum(map(size_of, kept)))
