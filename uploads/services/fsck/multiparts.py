"""Uploads in parts that belong to no file in motion. There are few: they are told by batches, not merged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

from uploads import s3
from uploads.models import Trouble
from uploads.services.fsck.look import KEYS_AT_ONCE, OURS, Sight, Verdict
from uploads.services.fsck.rows import Row, moment, rows_of


def strays(prefix: str, *, store: str, grace: float) -> Iterator[list[Verdict]]:
    """Open uploads under our keys that are older than `grace` and that no row explains; looked at twice."""
    for ours in OURS:
        if ours.startswith(prefix) or prefix.startswith(ours):
            uploads = s3.open_multiparts(max(prefix, ours, key=len), store=store)
            while some := list(islice(uploads, KEYS_AT_ONCE)):
                found = _unexplained(some, store=store, grace=grace)
                if found:
                    yield [_verdict(upload) for upload in found if _is_still_open(upload, store=store, grace=grace)]


def _unexplained(uploads: list[s3.OpenMultipart], *, store: str, grace: float) -> list[s3.OpenMultipart]:
    """The rows are read after the listing: what was begun since is not in it."""
    latest = moment() - timedelta(seconds=grace)
    rows = rows_of([upload.key for upload in uploads], grace=grace)
    return [
        upload
        for upload in uploads
        if upload.initiated < latest and not any(_explains(row, store) for row in rows.get(upload.key, []))
    ]


def _explains(row: Row, store: str) -> bool:
    """A file on its way, or one of another store that is perhaps being moved here."""
    return row.store != store or not (row.settled or row.marked)


def _is_still_open(upload: s3.OpenMultipart, *, store: str, grace: float) -> bool:
    return upload.id in s3.multipart_ids(upload.key, store=store) and bool(
        _unexplained([upload], store=store, grace=grace)
    )


def _verdict(upload: s3.OpenMultipart) -> Verdict:
    sight = Sight(upload.key, None, None, upload.initiated)
    return Verdict(sight, Trouble.MULTIPART, detail={"upload": upload.id, "initiated": upload.initiated.isoformat()})
