"""The manifest format: a head, one line per row, and an end with the number of lines and their SHA-256.

Each line is a JSON object with its `kind`. Rows come in an order in which each follows the rows that it
refers to: groups, people, folders from the top down, grants, tags, file requests and their guests, files by store and
key, taggings, share links, limits of people, events.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import IO, Any

from uploads import s3
from uploads.errors import ValidationFailed
from uploads.keys import FILE_KEY_PATTERN, PREVIEW_PREFIX
from uploads.models import ChecksumStatus
from uploads.models.states import FAILED_CHECKSUMS
from uploads.s3.client import STORAGE_CONCURRENCY

FORMAT = 1
GZIP = b"\x1f\x8b"
MAX_LINE_BYTES = 16 * 1024**2  # a row has a few kilobytes, an event of a large import some more
FILE_KEY = re.compile(FILE_KEY_PATTERN)
MAX_REPORTED = 1000
ROWS_BATCH_SIZE = 1000
Row = dict[str, Any]
Pair = tuple[Row, s3.ObjectInfo | None]


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
        raise BadManifest(
            "The manifest is incomplete: its last line is missing. Nothing was written. Use another manifest."
        )
    if (end.get("lines"), end.get("sha256")) != (lines, digest.hexdigest()):
        raise BadManifest("The manifest was changed: its SHA-256 differs. Nothing was written. Use another manifest.")
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
                    f"Line {number} of the manifest is longer than {MAX_LINE_BYTES // 1024**2} MiB. Nothing was "
                    "written. Use another manifest."
                )
            yield line
    except (EOFError, OSError, zlib.error) as fault:
        raise BadManifest(f"The manifest is corrupted ({type(fault).__name__}). Use another manifest.") from None


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError) as fault:
        reason = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise BadManifest(
            f"Line {number} of the manifest is invalid: {reason}. Nothing was written. Use another manifest."
        ) from None
    return row


def _head(line: bytes) -> Head:
    members = _parse(line)
    if members.get("kind") != "manifest":
        raise BadManifest("This file is not a manifest.")
    if members.get("format") != FORMAT:
        raise BadManifest(
            f"The manifest has format {members.get('format')}, but this version of Amalga needs format {FORMAT}."
        )
    try:
        installation = str(uuid.UUID(members["installation"]))
        at = datetime.fromisoformat(members["at"]).isoformat()
        counts = {str(kind): int(count) for kind, count in members["counts"].items()}
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        raise BadManifest(
            "The first line of the manifest lacks its installation or its time. Use another manifest."
        ) from None
    return Head(installation, at, counts)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class ManifestComparison:
    """Counts of the comparison: files that are `present` as the manifest says; `changed`, of the same size but
    another ETag, as after a bucket restore; of another `size`; `missing`; `unknown` objects, and `previews`."""

    def __init__(self, on_row: Callable[[], None]) -> None:
        self._on_row = on_row
        self.counts: Counter[str] = Counter(present=0, changed=0, size=0, missing=0, unknown=0, previews=0)
        self.differing: list[tuple[str, str]] = []  # the first of them: outcome and key

    def note(self, outcome: str, key: str) -> None:
        self.counts[outcome] += 1
        self._on_row()
        if outcome not in {"present", "previews"} and len(self.differing) < MAX_REPORTED:
            self.differing.append((outcome, key))


def compare(path: Path, *, files: IO[str], unknown: IO[str], on_row: Callable[[], None]) -> ManifestComparison:
    """Write each file row to be restored to `files`, and each of our objects without a row to `unknown`, as JSON lines.

    Raises BadManifest for a store that no setting names, StorageUnavailable, ListingOutOfOrder.
    """
    comparison = ManifestComparison(on_row)
    store_names = {store.name for store in (s3.main_store(), s3.secondary_store()) if store}
    seen = set()
    for store, store_rows in groupby(rows(path, "file"), key=lambda row: str(row["store"])):
        if store not in store_names:
            raise BadManifest(
                f"The manifest has files in a storage named “{store}”, which is not configured. Set S3_STORE_NAME to "
                "that name, or configure it with SECONDARY_S3_STORE_NAME and the other SECONDARY_S3_* variables."
            )
        seen.add(store)
        _compare_store(store, store_rows, comparison, files, unknown)
    for store in store_names - seen:
        _compare_store(store, iter(()), comparison, files, unknown)
    return comparison


def _compare_store(
    store: str, store_rows: Iterator[dict[str, Any]], comparison: ManifestComparison, files: IO[str], unknown: IO[str]
) -> None:
    confirm = partial(_confirmed_object, store=store)
    pages = s3.list_objects("", store=store)
    with closing(pages), ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:  # type: ignore[type-var]  # it is a generator
        pairs = _match_rows(
            store_rows, chain.from_iterable(pages), lambda item: _note_unknown(item, store, comparison, unknown)
        )
        while batch := list(islice(pairs, ROWS_BATCH_SIZE)):
            for (row, _listed), item in zip(batch, threads.map(confirm, batch), strict=True):
                comparison.note(_update_row(row, item), row["key"])
                files.write(json.dumps(row) + "\n")


def _match_rows(
    store_rows: Iterator[Row], items: Iterator[s3.ObjectInfo], on_unknown: Callable[[s3.ObjectInfo], None]
) -> Iterator[Pair]:
    """Yield each row with the listed object of its key; both are sorted by key. `on_unknown` gets the other objects."""
    item = next(items, None)
    for row in store_rows:
        while item is not None and item.key < row["key"]:
            on_unknown(item)
            item = next(items, None)
        match = item if item is not None and item.key == row["key"] else None
        if match is not None:
            item = next(items, None)
        yield row, match
    while item is not None:
        on_unknown(item)
        item = next(items, None)


def _confirmed_object(pair: Pair, *, store: str) -> s3.ObjectInfo | None:
    """Return the object of a row. Where the listing contradicts the row, a HEAD request decides."""
    row, listed = pair
    if listed is not None and listed.size == row["size"]:
        return listed
    return s3.head(row["key"], store=store)


def _update_row(row: dict[str, Any], item: s3.ObjectInfo | None) -> str:
    """Update the row to the state of its object, and return the outcome. `verify` settles its checksum later."""
    if item is None:
        row["checksum_status"] = ChecksumStatus.MISSING.value
        return "missing"
    if item.size != row["size"]:
        row["checksum_status"] = ChecksumStatus.CORRUPTED.value
        return "size"
    if row["checksum_status"] == ChecksumStatus.MISSING:
        row["checksum_status"] = ChecksumStatus.UNVERIFIED.value
    if item.etag == row["etag"]:
        return "present"
    row["etag"] = item.etag
    row["verified_at"] = None
    if row["checksum_status"] not in FAILED_CHECKSUMS and row["checksum"]:
        row["checksum_status"] = ChecksumStatus.UNVERIFIED.value
    return "changed"


def _note_unknown(item: s3.ObjectInfo, store: str, comparison: ManifestComparison, unknown: IO[str]) -> None:
    """Record an object without a row, unless its key cannot be one of ours."""
    if item.key.startswith(PREVIEW_PREFIX):
        comparison.note("previews", item.key)
    if not FILE_KEY.fullmatch(item.key):
        return
    comparison.note("unknown", item.key)
    record = {"key": item.key, "size": item.size, "etag": item.etag, "at": item.modified.isoformat(), "store": store}
    unknown.write(json.dumps(record) + "\n")
