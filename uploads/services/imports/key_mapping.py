"""Map a key to the folder and name of its file, or to the reason why it cannot be a file."""

from __future__ import annotations

import functools
import posixpath
from datetime import datetime
from typing import NamedTuple

from uploads.errors import Problem, ValidationFailed
from uploads.keys import CHECKPOINT_KEY, MARKER_KEY, OWN_PREFIXES
from uploads.media_types import category_of, type_of_name
from uploads.names import clean_folder, clean_name, extensions_of
from uploads.services.start import validate_type
from uploads.services.tree import require_depth

MAX_KEY_BYTES = 1024  # S3 user guide, "Naming Amazon S3 objects"
MAX_ETAG_CHARACTERS = 80
COMPRESSED = {".gz": "application/gzip", ".bz2": "application/x-bzip2", ".xz": "application/x-xz"}


class ImportCandidate(NamedTuple):
    """An object that can be a file: `folder` is a clean path, `declared_type` is the type of its extension."""

    key: str
    size: int
    etag: str
    modified: datetime
    folder: str
    name: str
    declared_type: str
    category: str
    archived: bool = False


class RejectedKey(NamedTuple):
    key: str
    reason: str


class EmptyFolder(NamedTuple):
    """An empty object with a key like `photos/`, which represents a folder."""

    key: str
    folder: str


def is_own(key: str) -> bool:
    """Whether the key belongs to Amalga itself."""
    return key.startswith(OWN_PREFIXES) or key in {MARKER_KEY, CHECKPOINT_KEY}


def require_foreign(prefix: str) -> None:
    """Raise ValidationFailed for a prefix of Amalga's own objects."""
    if is_own(prefix):
        raise ValidationFailed(
            f"The prefix {prefix} is reserved for Amalga. Give a prefix that another program writes to."
        )
    _require_storable(prefix)


def read_key(
    key: str, size: int, etag: str, modified: datetime, *, prefix: str, depth: int = 0
) -> ImportCandidate | EmptyFolder | RejectedKey:
    """Return what this object becomes.

    Folders omit the prefix up to its last slash, and begin below `depth` levels.
    """
    try:
        _require_storable(key)
        if not {".", ".."}.isdisjoint(key.split("/")):
            return RejectedKey(key, "A folder or name in the key is “.” or “..”, which browsers remove from links.")
        folder_path, slash, file_name = key[prefix.rfind("/") + 1 :].rpartition("/")
        folder = _clean_folder(folder_path) if slash else ""
        require_depth(depth + (folder.count("/") + 1 if folder else 0))
        if not file_name:
            if size:
                return RejectedKey(key, "The key ends in a slash, but the object is not empty.")
            return EmptyFolder(key, folder)
        if not 0 < len(etag) <= MAX_ETAG_CHARACTERS:
            return RejectedKey(key, "The storage reports no valid ETag.")
        name = clean_name(file_name)
        declared_type, category = _type_and_category(posixpath.splitext(name)[1].lower())
        validate_type(
            declared_type, *(_type_and_category(extension)[0] for extension in extensions_of(name)), name=name
        )
    except Problem as problem:
        return RejectedKey(key, problem.message)
    return ImportCandidate(key, size, etag, modified, folder, name, declared_type, category)


_clean_folder = functools.lru_cache(maxsize=10_000)(clean_folder)


@functools.lru_cache(maxsize=1000)
def _type_and_category(extension: str) -> tuple[str, str]:
    """Return the media type and the category of an extension."""
    media_type = COMPRESSED.get(extension) or type_of_name(f"x{extension}")
    return media_type, category_of(media_type)


def _require_storable(key: str) -> None:
    """Raise ValidationFailed for keys that a row cannot store.

    Listings show keys that are not UTF-8 with replacement characters, by which the object cannot be read.
    """
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        length = -1
    if length < 0 or "\0" in key or "\ufffd" in key:
        raise ValidationFailed("The key is not UTF-8, or has a NUL character.")
    if length > MAX_KEY_BYTES:
        raise ValidationFailed(f"The key is longer than {MAX_KEY_BYTES:,} bytes, the limit of S3.")
