"""Objects of ours that no manifest knows, as files that somebody can look through."""

from __future__ import annotations

import json
import mimetypes
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import IO, Any

from django.conf import settings

from uploads import s3
from uploads.media_types import family_of
from uploads.models import Basis, Family, Origin, State, Visibility
from uploads.parts import part_size_for
from uploads.services.types import detect_type

FOLDER = "Recovered"  # and when
AT_ONCE = 8
BATCH = 1000


def recovered(unknown: IO[str], *, owner_id: int, folder_id: int) -> Iterator[dict[str, Any]]:
    """A row for each of these objects: named by its key, typed by its first bytes, private to `owner_id`, and ours to
    remove. Its checksum is not known before `verify` reads it. Raises StoreUnavailable."""
    with ThreadPoolExecutor(AT_ONCE) as workers:
        while batch := [json.loads(line) for line in islice(unknown, BATCH)]:
            for told, stored in zip(batch, workers.map(_look, batch), strict=True):
                if stored is not None:
                    yield _row(told, stored, owner_id, folder_id)


def _look(told: dict[str, Any]) -> s3.Stored | None:
    return s3.peek(told["key"], size=told["size"], store=told["store"])


def _row(told: dict[str, Any], stored: s3.Stored, owner_id: int, folder_id: int) -> dict[str, Any]:
    detected = detect_type(stored.first_bytes)
    family = Family.ARCHIVE if stored.content_encoding else Family(family_of(detected))
    pk = str(uuid.uuid4())
    return {
        "id": pk, "token": pk, "key": told["key"], "store": told["store"], "origin": Origin.ADOPTED.value,
        "owner_id": owner_id, "folder_id": folder_id, "name": _name(told["key"], detected), "series": None,
        "current": True, "visibility": Visibility.PRIVATE.value, "claimed_type": "", "detected_type": detected,
        "content_encoding": stored.content_encoding, "refusal": "", "family": family.value,
        "modified": told["at"], "state": State.AVAILABLE.value,
        "size": stored.size, "part_size": part_size_for(stored.size, smallest=settings.UPLOAD_PART_BYTES),
        "etag": stored.etag, "checksum": "", "checksum_algorithm": "sha256", "checksum_basis": Basis.UNREAD.value,
        "created_at": told["at"], "updated_at": told["at"], "available_at": told["at"],
    }  # fmt: skip


def _name(key: str, detected: str) -> str:
    return key.rpartition("/")[2] + (mimetypes.guess_extension(detected) or "")
