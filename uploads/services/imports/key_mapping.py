"""What becomes of a key: the folder and the name that its object is shown under, or why it cannot be a file."""

from __future__ import annotations

import functools
import mimetypes
import posixpath
from datetime import datetime
from typing import NamedTuple

from uploads import s3
from uploads.errors import Problem, ValidationFailed
from uploads.media_types import category_of
from uploads.names import clean_folder, clean_name, extensions_of
from uploads.services.start import validate_type
from uploads.services.tree import require_depth

# Parts of the bucket that are Amalga's own, and no files for anybody.
OWN_FOLDERS = ("f/", "p/", "quarantine/", "manifests/")
MAX_KEY_BYTES = 1024  # S3 user guide, "Naming Amazon S3 objects"
MAX_ETAG_CHARACTERS = 80
COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
# The table that comes with Python: that of this machine's own files would differ from place to place.
TYPES = mimetypes.MimeTypes()


class ImportCandidate(NamedTuple):
    """An object that can be a file: `folder` is a clean path, `claimed_type` what its extension says."""

    key: str
    size: int
    etag: str
    modified: datetime
    folder: str
    name: str
    claimed_type: str
    family: str
    archived: bool = False


class RejectedKey(NamedTuple):
    key: str
    why: str


class EmptyFolder(NamedTuple):
    """A key like `photos/` without bytes, which stands for a folder."""

    key: str
    folder: str


def is_own(key: str) -> bool:
    """Whether that is something of Amalga's own."""
    return key.startswith(OWN_FOLDERS) or key in {s3.MARKER_KEY, s3.CLOCK_KEY}


def require_foreign(prefix: str) -> None:
    """Raise ValidationFailed for a prefix that lies in Amalga's own part of the bucket."""
    if is_own(prefix):
        raise ValidationFailed(
            f"{prefix} is Amalga's own part of the bucket. Name a prefix that something else wrote to."
        )
    _require_storable(prefix)


def read_key(
    key: str, size: int, etag: str, modified: datetime, *, prefix: str, depth: int = 0
) -> ImportCandidate | EmptyFolder | RejectedKey:
    """What this object becomes. Of the prefix, all up to its last slash is left out of the folders; these begin below
    `depth` levels."""
    try:
        _require_storable(key)
        if not {".", ".."}.isdisjoint(key.split("/")):
            return RejectedKey(
                key, "A part of its key is dots alone: browsers leave it out, and would ask for another."
            )
        before, slash, last = key[prefix.rfind("/") + 1 :].rpartition("/")
        folder = _clean_folder(before) if slash else ""
        require_depth(depth + (folder.count("/") + 1 if folder else 0))
        if not last:
            return (
                EmptyFolder(key, folder) if not size else RejectedKey(key, "Its key ends in a slash, and it has bytes.")
            )
        if not 0 < len(etag) <= MAX_ETAG_CHARACTERS:
            return RejectedKey(key, "The store tells no usable ETag of it.")
        name = clean_name(last)
        claimed_type, family = _kind_of(posixpath.splitext(name)[1].lower())
        validate_type(claimed_type, *(_kind_of(extension)[0] for extension in extensions_of(name)), name=name)
    except Problem as problem:
        return RejectedKey(key, problem.message)
    return ImportCandidate(key, size, etag, modified, folder, name, claimed_type, family)


_clean_folder = functools.lru_cache(maxsize=10_000)(clean_folder)


@functools.lru_cache(maxsize=1000)
def _kind_of(extension: str) -> tuple[str, str]:
    """The media type that an extension claims, and its family."""
    found, compression = TYPES.guess_type(f"x{extension}")
    media_type = COMPRESSED.get(compression, "") if compression else found or ""
    return media_type, category_of(media_type)


def _require_storable(key: str) -> None:
    """Raise ValidationFailed for what no row can hold. What was not UTF-8 in the bucket is told with replacement
    characters, by which the object cannot be asked for."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        length = -1
    if length < 0 or "\0" in key or "\ufffd" in key:
        raise ValidationFailed("Its key is not text in UTF-8, or holds a NUL.")
    if length > MAX_KEY_BYTES:
        raise ValidationFailed(f"Its key is longer than the {MAX_KEY_BYTES:,} bytes that S3 allows.")
