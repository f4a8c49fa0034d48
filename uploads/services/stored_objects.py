"""What the storage reveals about the objects of files, saved in their rows: refusals, and the Content-Encoding.

A listing does not include the encoding of imported objects, and a request for each would make an import twenty times
slower, so it is requested at first use.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db import DatabaseError
from django.db.models.functions import Now
from django.utils.translation import ngettext

from uploads import s3
from uploads.errors import ObjectArchived, ObjectRefused, Problem, StorageUnavailable
from uploads.models import Category, File, Refusal
from uploads.services.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

CHECK_CONCURRENCY = 16
MAX_NAMES = 5  # in a sentence


class Stored(Protocol):
    """The fields that are needed of a file, from its row or from a query of some columns."""

    @property
    def id(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def store(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def origin(self) -> str: ...
    @property
    def refusal(self) -> str: ...


class FilesRefused(Problem):
    """The storage refuses to serve these files, for the reasons of models.Refusal."""

    status_code = ObjectRefused.status_code

    def __init__(self, refused: Sequence[tuple[str, str]]) -> None:
        """`refused`: the name and the reason of each file."""
        by_reason = {reason: [name for name, refusal in refused if refusal == reason] for reason in Refusal.values}
        sentences = [_sentence(reason, names) for reason, names in by_reason.items() if names]
        super().__init__(" ".join(sentences))
        self.code = ObjectArchived.code if by_reason[Refusal.ARCHIVED] else ObjectRefused.code


def _sentence(reason: str, names: Sequence[str]) -> str:
    if reason == Refusal.ARCHIVED:
        text = ngettext(
            "%(names)s is archived. Ask an administrator to restore it, which can take hours; then try again.",
            "%(names)s are archived. Ask an administrator to restore them, which can take hours; then try again.",
            len(names),
        )
    elif reason == Refusal.ENCRYPTED:
        text = ngettext(
            "%(names)s is encrypted with a key that isn't available. Ask an administrator.",
            "%(names)s are encrypted with a key that isn't available. Ask an administrator.",
            len(names),
        )
    else:
        text = ngettext(
            "Storage denied access to %(names)s. Ask an administrator.",
            "Storage denied access to %(names)s. Ask an administrator.",
            len(names),
        )
    return text % {"names": quote_names(names)}


def quote_names(names: Sequence[str]) -> str:
    """Return the quoted names, separated by commas, at most MAX_NAMES of them."""
    return ", ".join([f"“{name}”" for name in names[:MAX_NAMES]] + ["…"] * (len(names) > MAX_NAMES))


def save_refusal(file: Stored, refusal: str) -> None:
    """Save the reason why the storage refuses the file's object; empty if it does not. Safe to repeat.

    A database error is only logged, since the storage can be queried again.
    """
    if refusal == file.refusal:
        return
    try:
        rows = File.objects.filter(pk=file.id, store=file.store).exclude(refusal=refusal)
        if rows.update(refusal=refusal, updated_at=Now()):
            logger.warning("file_refusal_changed file=%s reason=%s", file.id, refusal or "none")
    except DatabaseError as error:
        logger.warning("file_refusal_not_saved file=%s error=%s", file.id, type(error).__name__)


# --- Content-Encoding ---------------------------------------------------------------------------


class Place(NamedTuple):
    """The location of a file's object."""

    id: UUID
    key: str
    store: str


def fetch_encoding(file: File) -> None:
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


def fetch_encodings(places: Iterable[Place]) -> Mapping[UUID, str]:
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

    with ThreadPoolExecutor(CHECK_CONCURRENCY) as threads:
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
    except DatabaseError as error:
        logger.warning("content_encoding_not_saved files=%s error=%s", len(ids), type(error).__name__)
