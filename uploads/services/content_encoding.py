"""Finding out which encoding imported objects are stored under. A listing does not tell, and a request for each object
would make an import twenty times slower: the store is asked at the first use."""

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
    """Where the object of a file is."""

    id: UUID
    key: str
    store: str


def learn_encoding(file: File) -> None:
    """Ask the store, unless the row knows, and keep what it says. Safe to repeat. Raises StorageUnavailable."""
    if file.is_encoding_unknown and (found := s3.head(file.key, store=file.store)):
        facts = _facts(found.content_encoding)
        if found.archived:
            facts["refusal"] = Refusal.ARCHIVED.value
        _keep([file.pk], facts)
        for name, value in facts.items():
            setattr(file, name, value)


def learn_encodings(places: Iterable[Place]) -> Mapping[UUID, str]:
    """Ask the store about files whose rows do not know, several at once, and keep what it says.

    An object that it does not tell of is left out. Safe to repeat.
    """
    watch = CircuitBreaker()

    def ask(place: Place) -> tuple[UUID, str] | None:
        try:
            watch.require(place.store)
            found = s3.head(place.key, store=place.store)
            return (place.id, found.content_encoding) if found else None
        except StorageUnavailable:
            watch.doubt(place.store)
            return None

    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        found = dict(filter(None, threads.map(ask, places)))
    alike: dict[str, list[UUID]] = defaultdict(list)
    for pk, encoding in found.items():
        alike[encoding].append(pk)
    for encoding, ids in alike.items():
        _keep(ids, _facts(encoding))
    return found


def facts_of(file: File, encoding: str) -> dict[str, Any]:
    """What the row of a file is to say once its object was seen; nothing where it knows."""
    return _facts(encoding) if file.is_encoding_unknown else {}


def _facts(encoding: str) -> dict[str, Any]:
    """Stored bytes that must be unpacked before they are a text or a picture are an archive to lists and previews."""
    return {"content_encoding": encoding, **({"family": Category.ARCHIVE} if encoding else {})}


def _keep(ids: list[UUID], facts: Mapping[str, Any]) -> None:
    """A database that keeps nothing now is no reason to fail: the store can be asked again."""
    try:
        File.objects.filter(pk__in=ids, content_encoding=None).update(**facts)
    except DatabaseError as fault:
        logger.warning("encoding_not_kept files=%s fault=%s", len(ids), type(fault).__name__)
