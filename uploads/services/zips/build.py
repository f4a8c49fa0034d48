"""What a zip holds: its files, and their paths."""

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

from uploads.content_encoding import stored_name
from uploads.errors import Problem, ValidationFailed
from uploads.models import ChecksumStatus, File, Folder, Origin
from uploads.names import IGNORABLE, MAX_EXTENSION_CHARACTERS, clean_name
from uploads.services.content_encoding import Place, learn_encodings
from uploads.services.refusals import quote_names
from uploads.services.zips.archive_format import Member, length_of
from uploads.services.zips.prefetch import MemberSource

MAX_FILES = 10_000
HEX_BYTES = 64
COLUMNS = (
    "id", "series", "key", "store", "origin", "content_encoding", "name", "folder_id", "size", "part_size", "checksum",
    "etag", "checksum_basis", "modified", "available_at", "refusal",
)  # fmt: skip


class NotAllThere(Problem):
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
    """What will be sent: `length` is the zip's, to the byte; its last member is the manifest."""

    name: str
    files: list[MemberSource]
    members: list[Member]
    length: int


def bundle(user: User, links: Sequence[UUID]) -> Bundle:
    """The zip of these files. Raises ValidationFailed for none and for more than ten thousand, NotAllThere when this
    person may not see one of them, BytesLost when one is known to be missing: nothing is left out silently."""
    wanted = list(dict.fromkeys(links))
    if not 0 < len(wanted) <= MAX_FILES:
        raise ValidationFailed(_("Choose between one file and %(most)s files.") % {"most": f"{MAX_FILES:,}"})
    rows = File.objects.visible_to(user).listed().by_links(wanted)
    files = [MemberSource(*row) for row in rows.order_by("folder_id", "folded", "id").values_list(*COLUMNS)]
    if len(files) != len(wanted):
        raise NotAllThere(len(wanted) - len(files))
    if lost := [file.name for file in files if file.basis == ChecksumStatus.MISSING]:
        raise ContentLost(lost)
    encodings = _encodings(files)
    common, ways = _folder_paths(user, {file.folder_id for file in files})
    paths = paths_of([(ways[file.folder_id], stored_name(file.name, encodings.get(file.id))) for file in files])
    members = [
        Member(path, file.size, file.modified or file.available_at) for path, file in zip(paths, files, strict=True)
    ]
    members.append(_manifest(members, files))
    return Bundle(f"{common or _('files')}.zip", files, members, length_of(members))


def _encodings(files: Sequence[MemberSource]) -> Mapping[UUID, str]:
    """Of files that are stored compressed, under which encoding: a zip holds the stored bytes."""
    unknown = [file for file in files if file.content_encoding is None and file.origin != Origin.UPLOADED]
    known = {file.id: file.content_encoding for file in files if file.content_encoding}
    return {**known, **learn_encodings(Place(file.id, file.key, file.store) for file in unknown)}


def _manifest(members: Sequence[Member], files: Sequence[MemberSource]) -> Member:
    size = sum(HEX_BYTES + len(b"  \n") + len(member.path.encode()) for member in members)
    return Member(MANIFEST, size, max(file.available_at for file in files))


def _folder_paths(user: User, ids: set[int | None]) -> tuple[str, dict[int | None, list[str]]]:
    """The name of the deepest folder that holds all of these, and the way to each from there. The name of a folder
    on the way that this person may not know is empty."""
    rows = Folder.objects.filter(pk__in=[pk for pk in ids if pk]).values_list("pk", "path")
    paths: dict[int | None, list[int]] = {pk: [] for pk in ids} | dict(rows)
    levels = zip(*paths.values(), strict=False)  # as far down as the shallowest goes
    shared = [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, levels)]
    steps = {step for path in paths.values() for step in path}
    called = dict(Folder.objects.visible_to(user).filter(pk__in=steps).values_list("pk", "name"))
    ways = {pk: [called.get(step, "") for step in path[len(shared) :]] for pk, path in paths.items()}
    return (called.get(shared[-1], "") if shared else ""), ways


MANIFEST = "SHA256SUMS"
MAX_SEGMENT_BYTES = 255  # ext4, APFS, NTFS
MAX_PATH_BYTES = 2_000  # with the name, half of what Linux takes for a path
ABOVE = "…"

# Microsoft, "Naming Files, Paths, and Namespaces": what Windows cannot have in a name, and names that are devices,
# whatever extension follows. Macs show a colon of the disk as a slash, so colons are common.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³]|conin\$|conout\$) *(\.|$)", re.IGNORECASE)

PathParts = tuple[Sequence[str], str]  # folders, and the name


def paths_of(places: Sequence[PathParts]) -> list[str]:
    """A path for each file of these folders and this name, in order.

    What Windows cannot make is replaced. Names that are the same then, or but for case, or for how accents are
    written, would be one file on many disks: the second becomes `name (2).ext`. The manifest's name is taken.
    """
    cleaned = [(_folders(folders), _portable(name)) for folders, name in places]
    taken = {_key([MANIFEST])} | {
        _key([way]) for folders, _name in cleaned for way in accumulate(folders, lambda way, step: f"{way}/{step}")
    }
    counts: dict[str, int] = {}
    return [_free(folders, name, taken, counts) for folders, name in cleaned]


def _free(folders: list[str], name: str, taken: set[str], counts: dict[str, int]) -> str:
    plain = _key([*folders, name])
    key, path, number = plain, "/".join([*folders, name]), counts.get(plain, 1)
    while key in taken:
        number += 1
        numbered = _numbered(name, number)
        key, path = _key([*folders, numbered]), "/".join([*folders, numbered])
    counts[plain] = number
    taken.add(key)
    return path


def _key(segments: Sequence[str]) -> str:
    """Equal for paths that some file system takes for the same."""
    visible = IGNORABLE.sub("", "/".join(segments))  # HFS+ does not see joiners
    composed = unicodedata.normalize("NFC", visible).casefold()
    return "/".join(segment.rstrip(". ") for segment in unicodedata.normalize("NFC", composed).split("/"))


def _folders(names: Sequence[str]) -> list[str]:
    """The folders on the way; of a way that is too long for a disk, its end."""
    short = [_portable(name) if name else ABOVE for name in names]
    while sum(len(step.encode()) + 1 for step in short) > MAX_PATH_BYTES:
        short = [ABOVE, *short[2:]]
    return short


def _portable(name: str) -> str:
    """The name as any disk can hold it: `12:30?.txt` becomes `12_30_.txt`, `con.txt` `con_.txt`, `Mr.` `Mr`."""
    name = FORBIDDEN.sub("_", clean_name(name))
    if DEVICE.match(name):
        stem, dot, rest = name.partition(".")
        name = f"{stem.rstrip()}_{dot}{rest}"
    return _short(name.rstrip(". ")).rstrip(". ")


def _numbered(name: str, number: int) -> str:
    stem, extension = _parted(name)
    mark = f" ({number})"
    return _cut(stem, MAX_SEGMENT_BYTES - len((mark + extension).encode())) + mark + extension


def _short(name: str) -> str:
    stem, extension = _parted(name)
    return _cut(stem, MAX_SEGMENT_BYTES - len(extension.encode())) + extension


def _parted(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and len(extension) <= MAX_EXTENSION_CHARACTERS else (name, "")


def _cut(text: str, max_source_bytes: int) -> str:
    return text.encode()[:max_source_bytes].decode(errors="ignore")
