"""The format: a head, one line for each row, and an end that tells how many lines there were and their SHA-256.

Each line is a JSON object whose `kind` says what it is. Rows come in an order in which each finds there what it
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
MAX_LINE_BYTES = 16 * 1024**2  # a row of ours has a few kilobytes, an event of a large import some more


class BadManifest(ValidationFailed):
    """Not a manifest, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the first line says: whose library, as of when, and how many rows of each kind."""

    installation: str
    at: str
    counts: dict[str, int]


def inspect(path: Path) -> Head:
    """Read the file once from end to end. Raises BadManifest unless every line is there as it was written."""
    digest, lines, head, last = hashlib.sha256(), 0, None, b""
    with opened(path) as file:
        for line in _raw_lines(file):
            if head is None:
                head = _head(line)
            if last:
                digest.update(last)
                lines += 1
            last = line
    end = _parsed(last) if last else {}
    if head is None or end.get("kind") != "end":
        raise BadManifest("The manifest is cut off: its last line is missing. Nothing was done; take another one.")
    if (end.get("lines"), end.get("sha256")) != (lines, digest.hexdigest()):
        raise BadManifest(
            "The manifest is not as it was written: its SHA-256 differs. Nothing was done; take another one."
        )
    return head


def rows(path: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """The rows of these kinds, in the order of the file; of a manifest that `inspect` found whole."""
    starts = tuple(f'{{"kind":"{kind}"'.encode() for kind in kinds)
    with opened(path) as file:
        for number, line in enumerate(_raw_lines(file), start=1):
            if line.startswith(starts):
                yield _row(line, number)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Packed by gzip or not."""
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
    told = _parsed(line)
    if told.get("kind") != "manifest":
        raise BadManifest("This file is no manifest of Amalga's.")
    if told.get("format") != FORMAT:
        raise BadManifest(f"The manifest has format {told.get('format')}, and this Amalga reads format {FORMAT}.")
    try:
        installation = str(uuid.UUID(told["installation"]))
        at = datetime.fromisoformat(told["at"]).isoformat()
        counts = {str(kind): int(count) for kind, count in told["counts"].items()}
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        raise BadManifest("The manifest's first line does not say whose it is, and when it was written.") from None
    return Head(installation, at, counts)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
