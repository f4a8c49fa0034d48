"""Choose the entries of a zip: its files, and their paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from uploads.content_headers import stored_name
from uploads.errors import Problem, ValidationFailed
from uploads.models import ChecksumStatus, File, Folder, Origin
from uploads.names import IGNORABLE, MAX_EXTENSION_CHARACTERS, clean_name
from uploads.services.stored_objects import Place, learn_encodings, quote_names
from uploads.services.zips.archive_format import Member, length_of
from uploads.services.zips.prefetch import MemberSource

MAX_FILES = 10_000
HEX_BYTES = 64
COLUMNS = (
    "id", "series", "key", "store", "origin", "content_encoding", "name", "folder_id", "size", "part_size", "checksum",
    "etag", "checksum_status", "modified", "available_at", "refusal",
)  # fmt: skip


class FilesNotFound(Problem):
    code = "not_found"
    status_code = 404

    def __init__(self, missing: int) -> None:
        text = ngettext(
            "%(count)s of the chosen files is not there any more, or not yours to see. Choose again.",
            "%(count)s of the chosen files are not there any more, or not yours to see. Choose again.",
            missing,
        )
        super().__init__(text % {"count": missing})


class ContentLost(Problem):
    code = "bytes_missing"
    status_code = 410

    def __init__(self, names: Sequence[str]) -> None:
        text = ngettext(
            "The bytes of %(names)s are not in the store. You did nothing wrong: choose again without this file, and "
            "tell an administrator, who may have a copy.",
            "The bytes of %(names)s are not in the store. You did nothing wrong: choose again without these files, and "
            "tell an administrator, who may have copies.",
            len(names),
        )
        super().__init__(text % {"names": quote_names(names)})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A zip to be sent: its `length` in bytes, and its members, of which the last is the manifest."""

    name: str
    files: list[MemberSource]
    members: list[Member]
    length: int


def bundle(user: User, links: Sequence[UUID]) -> Bundle:
    """Return the zip of these files.

    Raises ValidationFailed for no files and for more than ten thousand, FilesNotFound if the user cannot see one of
    them, ContentLost if one is known to be missing: no file is left out silently.
    """
    requested = list(dict.fromkeys(links))
    if not 0 < len(requested) <= MAX_FILES:
        raise ValidationFailed(_("Choose between one file and %(most)s files.") % {"most": f"{MAX_FILES:,}"})
    rows = File.objects.visible_to(user).listed().by_links(requested)
    files = [MemberSource(*row) for row in rows.order_by("folder_id", "normalized_name", "id").values_list(*COLUMNS)]
    if len(files) != len(requested):
        raise FilesNotFound(len(requested) - len(files))
    if missing := [file.name for file in files if file.checksum_status == ChecksumStatus.MISSING]:
        raise ContentLost(missing)
    encodings = _encodings(files)
    common, folder_paths = _folder_paths(user, {file.folder_id for file in files})
    paths = paths_of([(folder_paths[file.folder_id], stored_name(file.name, encodings.get(file.id))) for file in files])
    members = [
        Member(path, file.size, file.modified or file.available_at) for path, file in zip(paths, files, strict=True)
    ]
    members.append(_manifest(members, files))
    return Bundle(f"{common or _('files')}.zip", files, members, length_of(members))


def _encodings(files: Sequence[MemberSource]) -> Mapping[UUID, str]:
    """Return the content encodings of files that are stored compressed: a zip holds the stored bytes."""
    unknown = [file for file in files if file.content_encoding is None and file.origin != Origin.UPLOADED]
    encodings = {file.id: file.content_encoding for file in files if file.content_encoding}
    return {**encodings, **learn_encodings(Place(file.id, file.key, file.store) for file in unknown)}


def _manifest(members: Sequence[Member], files: Sequence[MemberSource]) -> Member:
    size = sum(HEX_BYTES + len(b"  \n") + len(member.path.encode()) for member in members)
    return Member(MANIFEST, size, max(file.available_at for file in files))


def _folder_paths(user: User, ids: set[int | None]) -> tuple[str, dict[int | None, list[str]]]:
    """Return the name of the deepest folder that contains all of these, and the path to each from there.

    The name of a folder that the user cannot see is empty.
    """
    rows = Folder.objects.filter(pk__in=[pk for pk in ids if pk]).values_list("pk", "path")
    paths: dict[int | None, list[int]] = {pk: [] for pk in ids} | dict(rows)
    levels = zip(*paths.values(), strict=False)  # as deep as the shallowest path
    shared = [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, levels)]
    steps = {step for path in paths.values() for step in path}
    names = dict(Folder.objects.visible_to(user).filter(pk__in=steps).values_list("pk", "name"))
    relative_paths = {pk: [names.get(step, "") for step in path[len(shared) :]] for pk, path in paths.items()}
    return (names.get(shared[-1], "") if shared else ""), relative_paths


MANIFEST = "SHA256SUMS"
MAX_SEGMENT_BYTES = 255  # ext4, APFS, NTFS
MAX_PATH_BYTES = 2_000  # with the name, half of what Linux takes for a path
ABOVE = "…"

# Microsoft, "Naming Files, Paths, and Namespaces": characters that Windows does not allow, and names of devices,
# with any extension. macOS shows a colon on disk as a slash, so colons are common.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³]|conin\$|conout\$) *(\.|$)", re.IGNORECASE)

PathParts = tuple[Sequence[str], str]  # folders, and the name


def paths_of(entries: Sequence[PathParts]) -> list[str]:
    """Return a path for each file of these folders and this name, in order.

    Characters that Windows does not allow are replaced. Names that are then equal, or differ only in case or Unicode
    normalization, would be one file on many disks: the second becomes `name (2).ext`. The manifest's name is reserved.
    """
    cleaned = [(_portable_folders(folders), _portable_name(name)) for folders, name in entries]
    used = {_collision_key([MANIFEST])} | {
        _collision_key([path])
        for folders, _name in cleaned
        for path in accumulate(folders, lambda path, step: f"{path}/{step}")
    }
    counts: dict[str, int] = {}
    return [_unused_path(folders, name, used, counts) for folders, name in cleaned]


def _unused_path(folders: list[str], name: str, used: set[str], counts: dict[str, int]) -> str:
    first_key = _collision_key([*folders, name])
    key, path, number = first_key, "/".join([*folders, name]), counts.get(first_key, 1)
    while key in used:
        number += 1
        numbered = _numbered(name, number)
        key, path = _collision_key([*folders, numbered]), "/".join([*folders, numbered])
    counts[first_key] = number
    used.add(key)
    return path


def _collision_key(segments: Sequence[str]) -> str:
    """Return a key that is equal for paths that some file system does not distinguish."""
    visible = IGNORABLE.sub("", "/".join(segments))  # HFS+ ignores joiners
    composed = unicodedata.normalize("NFC", visible).casefold()
    return "/".join(segment.rstrip(". ") for segment in unicodedata.normalize("NFC", composed).split("/"))


def _portable_folders(names: Sequence[str]) -> list[str]:
    """Return portable folder names; of a path that is too long for a disk, its end."""
    short = [_portable_name(name) if name else ABOVE for name in names]
    while sum(len(step.encode()) + 1 for step in short) > MAX_PATH_BYTES:
        short = [ABOVE, *short[2:]]
    return short


def _portable_name(name: str) -> str:
    """Return the name as any disk can store it: `12:30?.txt` becomes `12_30_.txt`, `con.txt` `con_.txt`, `Mr.` `Mr`."""
    name = FORBIDDEN.sub("_", clean_name(name))
    if DEVICE.match(name):
        stem, dot, rest = name.partition(".")
        name = f"{stem.rstrip()}_{dot}{rest}"
    return _shorten(name.rstrip(". ")).rstrip(". ")


def _numbered(name: str, number: int) -> str:
    stem, extension = _split_extension(name)
    suffix = f" ({number})"
    return _truncate(stem, MAX_SEGMENT_BYTES - len((suffix + extension).encode())) + suffix + extension


def _shorten(name: str) -> str:
    stem, extension = _split_extension(name)
    return _truncate(stem, MAX_SEGMENT_BYTES - len(extension.encode())) + extension


def _split_extension(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and len(extension) <= MAX_EXTENSION_CHARACTERS else (name, "")


def _truncate(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")
