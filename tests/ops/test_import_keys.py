"""Mapping of imported keys to folders and names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from uploads.services.imports import key_mapping

MODIFIED = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("photos/", "1/x.jpg"),
        ("photos/1/", "x.jpg"),
        ("photos/1/x", "x.jpg"),
        ("phot", "photos/1/x.jpg"),
        ("", "photos/1/x.jpg"),
    ],
)
def test_prefix_is_removed_up_to_its_last_slash(prefix: str, path: str) -> None:
    candidate = key_mapping.read_key("photos/1/x.jpg", 1, "e", MODIFIED, prefix=prefix)
    assert isinstance(candidate, key_mapping.ImportCandidate)
    assert "/".join(filter(None, [candidate.folder, candidate.name])) == path


@pytest.mark.parametrize(
    ("key", "etag"),
    [("in/" + "é" * 511, "e"), ("in/a\0b", "e"), ("in/\udce9", "e"), ("in/bad \ufffd.txt", "e"), ("in/x", ""),
     ("in/x", "e" * 81)],
)  # fmt: skip
def test_key_or_etag_that_no_row_can_store_is_rejected(key: str, etag: str) -> None:
    assert isinstance(key_mapping.read_key(key, 1, etag, MODIFIED, prefix="in/"), key_mapping.RejectedKey)
