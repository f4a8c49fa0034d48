"""What files are called inside a zip: relative, as people know them, names that every file system can make, and no two
alike on any."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate

from uploads.names import IGNORABLE, MOST_EXTENSION_CHARACTERS, clean_name

MANIFEST = "SHA256SUMS"
MOST_SEGMENT_BYTES = 255  # ext4, APFS, NTFS
MOST_FOLDERS_BYTES = 2_000  # with the name, half of what Linux takes for a path
ABOVE = "…"

# Microsoft, "Naming Files, Paths, and Namespaces": what Windows cannot have in a name, and names that are devices,
# whatever extension follows. Macs show a colon of the disk as a slash, so colons are common.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[1-9¹²³]|conin\$|conout\$) *(\.|$)", re.IGNORECASE)

Place = tuple[Sequence[str], str]


def paths_of(places: Sequence[Place]) -> list[str]:
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
    while sum(len(step.encode()) + 1 for step in short) > MOST_FOLDERS_BYTES:
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
    return _cut(stem, MOST_SEGMENT_BYTES - len((mark + extension).encode())) + mark + extension


def _short(name: str) -> str:
    stem, extension = _parted(name)
    return _cut(stem, MOST_SEGMENT_BYTES - len(extension.encode())) + extension


def _parted(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and len(extension) <= MOST_EXTENSION_CHARACTERS else (name, "")


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[:most_bytes].decode(errors="ignore")
