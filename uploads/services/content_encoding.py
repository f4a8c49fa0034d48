"""Find the Content-Encoding of imported objects. A listing does not include it, and a request for each object would
make an import twenty times slower, so it is requested at first use."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DatabaseError

from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import Category, File, Refusal
from uploads.services.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

STORAGE_CONCURRENCY = 16


class Place(NamedTuple):
    """The location of a file's object."""

    id: UUID
    key: str
    store: str


def learn_encoding(file: File) -> None:
    """Look up the encoding with a HEAD request and save it, unless the row has it. Safe to repeat.

    Raises StorageUnavailable.
    """
    if file.is_encoding_unknown and (stored := s3.head(file.key, store=file.store)):
        fields = _encoding_fields(stored.content_encoding)
        if stored.archived:
            fields["refusal"] = Refusal.ARCHIVED.value
        _save([file.pk], fields)
        for name, value in fields.items():
            setattr(file, name, value)


def learn_encodings(places: Iterable[Place]) -> Mapping[UUID, str]:
    """Look up the encodings of files whose rows do not have them, concurrently, and save and return them.

    Leaves out objects that are missing or unavailable. Safe to repeat.
    """
    breaker = CircuitBreaker()

    def look_up(place: Place) -> tuple[UUID, str] | None:
        try:
            breaker.require(place.store)
            stored = s3.head(place.key, store=place.store)
            return (place.id, stored.content_encoding) if stored else None
        except StorageUnavailable:
            breaker.record_failure(place.store)
            return None

    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        encodings = dict(filter(None, threads.map(look_up, places)))
    ids_by_encoding: dict[str, list[UUID]] = defaultdict(list)
    for pk, encoding in encodings.items():
        ids_by_encoding[encoding].append(pk)
    for encoding, ids in ids_by_encoding.items():
        _save(ids, _encoding_fields(encoding))
    return encodings


def new_encoding_fields(file: File, encoding: str) -> dict[str, Any]:
    """Return the fields to save with a file once its object was read; empty if the row has its encoding."""
    return _encoding_fields(encoding) if file.is_encoding_unknown else {}


def _encoding_fields(encoding: str) -> dict[str, Any]:
    """Return the fields for an encoding. Encoded bytes count as an archive for lists and previews."""
    return {"content_encoding": encoding, **({"category": Category.ARCHIVE} if encoding else {})}


def _save(ids: list[UUID], fields: Mapping[str, Any]) -> None:
    """Save the fields. A database error is only logged, since the storage can be queried again."""
    try:
        File.objects.filter(pk__in=ids, content_encoding=None).update(**fields)
    except DatabaseError as fault:
        logger.warning("content_encoding_not_saved files=%s error=%s", len(ids), type(fault).__name__)
