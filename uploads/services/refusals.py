"""Files that the storage refuses to serve."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from django.db import DatabaseError
from django.db.models.functions import Now
from django.utils.translation import ngettext

from uploads.errors import ObjectArchived, ObjectRefused, Problem
from uploads.models import File, Refusal

logger = logging.getLogger(__name__)

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
        by_reason = {reason: [name for name, given in refused if given == reason] for reason in Refusal.values}
        sentences = [_sentence(reason, names) for reason, names in by_reason.items() if names]
        super().__init__(" ".join(sentences))
        self.code = ObjectArchived.code if by_reason[Refusal.ARCHIVED] else ObjectRefused.code


def _sentence(reason: str, names: Sequence[str]) -> str:
    if reason == Refusal.ARCHIVED:
        text = ngettext(
            "%(names)s is archived. Ask an administrator to restore it in the storage, which can take hours; then try "
            "again.",
            "%(names)s are archived. Ask an administrator to restore them in the storage, which can take hours; then "
            "try again.",
            len(names),
        )
    elif reason == Refusal.ENCRYPTED:
        text = ngettext(
            "%(names)s is encrypted with a key that Amalga cannot use. Ask an administrator.",
            "%(names)s are encrypted with a key that Amalga cannot use. Ask an administrator.",
            len(names),
        )
    else:
        text = ngettext(
            "The storage denies access to %(names)s. Ask an administrator.",
            "The storage denies access to %(names)s. Ask an administrator.",
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
    except DatabaseError as fault:
        logger.warning("file_refusal_not_saved file=%s error=%s", file.id, type(fault).__name__)
