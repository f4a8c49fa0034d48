"""Hold the files of a manifest against what the stores have: one merged pass, in constant memory, without a row."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import IO, Any

from uploads import s3
from uploads.models import ChecksumStatus
from uploads.models.file import KEY_PATTERN
from uploads.services.manifest.format import BadManifest, rows

PREVIEWS = "p/"
FILE_KEY = re.compile(KEY_PATTERN)
MAX_REPORTED = 1000
ROWS_BATCH_SIZE = 1000
HEAD_CONCURRENCY = 8
Row = dict[str, Any]
Pair = tuple[Row, s3.ObjectInfo | None]
BROKEN = {ChecksumStatus.DAMAGED, ChecksumStatus.MISSING}


class Comparison:
    """What came of it: how many files are `there` as the manifest says; `changed`, of their size but with another
    ETag, as after a restored bucket; `size`, not even that; `missing`; objects that are `unknown`, and `previews`."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self.counts: Counter[str] = Counter(there=0, changed=0, size=0, missing=0, unknown=0, previews=0)
        self.differing: list[tuple[str, str]] = []  # the first of them: what, and which key

    def note(self, what: str, key: str) -> None:
        self.counts[what] += 1
        self._step()
        if what not in {"there", "previews"} and len(self.differing) < MAX_REPORTED:
            self.differing.append((what, key))


def compare(path: Path, *, files: IO[str], unknown: IO[str], step: Callable[[], None]) -> Comparison:
    """Write each file as it is to be restored to `files`, and each object of ours without one to `unknown`, as JSON
    lines. Raises BadManifest for a store that the settings do not know, StorageUnavailable, ListingOutOfOrder."""
    compared = Comparison(step)
    known = {store.name for store in (s3.main_store(), s3.secondary_store()) if store}
    seen = set()
    for store, told in groupby(rows(path, "file"), key=lambda row: str(row["store"])):
        if store not in known:
            raise BadManifest(
                f"The manifest has files in a store called “{store}”, which no variable names: call the main store so "
                "by S3_STORE_NAME, or name a second one by OTHER_S3_STORE_NAME and the other variables OTHER_S3_*."
            )
        seen.add(store)
        _compare_store(store, told, compared, files, unknown)
    for store in known - seen:
        _compare_store(store, iter(()), compared, files, unknown)
    return compared


def _compare_store(
    store: str, told: Iterator[dict[str, Any]], compared: Comparison, files: IO[str], unknown: IO[str]
) -> None:
    look = partial(_head_pairs, store=store)
    pages = s3.list_objects("", store=store)
    with closing(pages), ThreadPoolExecutor(HEAD_CONCURRENCY) as threads:  # type: ignore[type-var]  # it is a generator
        pairs = _side_by_side(
            told, chain.from_iterable(pages), lambda item: _note_unknown(item, store, compared, unknown)
        )
        while some := list(islice(pairs, ROWS_BATCH_SIZE)):
            for (row, _listed), found in zip(some, threads.map(look, some), strict=True):
                compared.note(_settle(row, found), row["key"])
                files.write(json.dumps(row) + "\n")


def _side_by_side(
    told: Iterator[Row], items: Iterator[s3.ObjectInfo], unknown: Callable[[s3.ObjectInfo], None]
) -> Iterator[Pair]:
    """Each row with what the listing has at its key; both come by their keys. `unknown` gets the other objects."""
    item = next(items, None)
    for row in told:
        while item is not None and item.key < row["key"]:
            unknown(item)
            item = next(items, None)
        found = item if item is not None and item.key == row["key"] else None
        if found is not None:
            item = next(items, None)
        yield row, found
    while item is not None:
        unknown(item)
        item = next(items, None)


def _head_pairs(pair: Pair, *, store: str) -> s3.ObjectInfo | None:
    """A listing is not believed where it speaks against a file: the object itself is asked."""
    row, listed = pair
    if listed is not None and listed.size == row["size"]:
        return listed
    return s3.head(row["key"], store=store)


def _settle(row: dict[str, Any], found: s3.ObjectInfo | None) -> str:
    """Change the row to what can be said of it now; `verify` settles what is only claimed."""
    if found is None:
        row["checksum_basis"] = ChecksumStatus.MISSING.value
        return "missing"
    if found.size != row["size"]:
        row["checksum_basis"] = ChecksumStatus.DAMAGED.value
        return "size"
    if row["checksum_basis"] == ChecksumStatus.MISSING:
        row["checksum_basis"] = ChecksumStatus.CLAIMED.value if row["checksum"] else ChecksumStatus.UNREAD.value
    if found.etag == row["etag"]:
        return "there"
    row["etag"] = found.etag
    row["verified_at"] = None
    if row["checksum_basis"] not in BROKEN and row["checksum"]:
        row["checksum_basis"] = ChecksumStatus.CLAIMED.value
    return "changed"


def _note_unknown(item: s3.ObjectInfo, store: str, compared: Comparison, unknown: IO[str]) -> None:
    """What is under other keys was never brought in, or is not ours."""
    if item.key.startswith(PREVIEWS):
        compared.note("previews", item.key)
    if not FILE_KEY.fullmatch(item.key):
        return
    compared.note("unknown", item.key)
    told = {"key": item.key, "size": item.size, "etag": item.etag, "at": item.modified.isoformat(), "store": store}
    unknown.write(json.dumps(told) + "\n")
