"""The manifest format: a head, one line per row, and an end with the number of lines and their SHA-256.

Each line is a JSON object with its `kind`. Rows come in an order in which each follows the rows that it
refers to: groups, people, folders from the top down, grants, tags, files by store and key, taggings, events.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from uploads.errors import ValidationFailed

FORMAT = 1
GZIP = b"\x1f\x8b"
MAX_LINE_BYTES = 16 * 1024**2  # a row has a few kilobytes, an event of a large import some more


class BadManifest(ValidationFailed):
    """The file is not a manifest, or is incomplete."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line: the installation, the time of the export, and the number of rows of each kind."""

    installation: str
    at: str
    counts: dict[str, int]


def inspect(path: Path) -> Head:
    """Read the whole file once and return its head. Raises BadManifest unless every line is there as it was written."""
    digest, lines, head, previous = hashlib.sha256(), 0, None, b""
    with open_manifest(path) as file:
        for line in _raw_lines(file):
            if head is None:
                head = _head(line)
            if previous:
                digest.update(previous)
                lines += 1
            previous = line
    end = _parse(previous) if previous else {}
    if head is None or end.get("kind") != "end":
        raise BadManifest("The manifest is cut off: its last line is missing. Nothing was done; take another one.")
    if (end.get("lines"), end.get("sha256")) != (lines, digest.hexdigest()):
        raise BadManifest(
            "The manifest is not as it was written: its SHA-256 differs. Nothing was done; take another one."
        )
    return head


def rows(path: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of these kinds, in the order of the file. `inspect` must have accepted the manifest."""
    starts = tuple(f'{{"kind":"{kind}"'.encode() for kind in kinds)
    with open_manifest(path) as file:
        for number, line in enumerate(_raw_lines(file), start=1):
            if line.startswith(starts):
                yield _row(line, number)


@contextmanager
def open_manifest(path: Path) -> Iterator[IO[bytes]]:
    """Open a manifest, compressed by gzip or not."""
    with path.open("rb") as file:
        is_packed = file.read(2) == GZIP
        file.seek(0)
        if not is_packed:
            yield file
            return
        with gzip.open(file) as unpacked:
            yield unpacked  # type: ignore[misc]  # a GzipFile is an IO[bytes] in all but name


def _raw_lines(file: IO[bytes]) -> Iterator[bytes]:
    number = 0
    try:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise BadManifest(
                    f"Line {number} of the manifest is longer than {MAX_LINE_BYTES // 1024**2} MiB: `export_manifest` "
                    "did not write it. Nothing was done; take another one."
                )
            yield line
    except (EOFError, OSError, zlib.error) as fault:
        raise BadManifest(
            f"The manifest cannot be read to its end ({type(fault).__name__}): take another one."
        ) from None


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError) as fault:
        why = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise BadManifest(
            f"Line {number} of the manifest cannot be read: {why}. Nothing was done; take another one."
        ) from None
    return row


def _head(line: bytes) -> Head:
    members = _parse(line)
    if members.get("kind") != "manifest":
        raise BadManifest("This file is no manifest of Amalga's.")
    if members.get("format") != FORMAT:
        raise BadManifest(f"The manifest has format {members.get('format')}, and this Amalga reads format {FORMAT}.")
    try:
        installation = str(uuid.UUID(members["installation"]))
        at = datetime.fromisoformat(members["at"]).isoformat()
        counts = {str(kind): int(count) for kind, count in members["counts"].items()}
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        raise BadManifest("The manifest's first line does not say whose it is, and when it was written.") from None
    return Head(installation, at, counts)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
