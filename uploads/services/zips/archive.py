"""Write the zip format in one pass (PKWARE APPNOTE 6.3.10), for readers that can seek and for those that cannot.

Sizes are known beforehand, checksums are not: the CRC of an entry follows its bytes in a data descriptor. Streaming
readers (Java's ZipInputStream, Apache Tika) accept a descriptor only after bytes that mark their own end, so entries
are "deflated" into blocks that are not compressed (RFC 1951, 3.2.4). These add five bytes to each 65,535, so the length
of the whole is still arithmetic, and `length_of` adds up what `write` will write. Libraries such as zipstream-ng put
descriptors after stored entries, which streaming readers refuse.

`paths_of` gives each entry a path that every system can unpack.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

from uploads.names import IGNORABLE, clean_name, split_extension

MAX_32_BITS, MAX_16_BITS = 0xFFFF_FFFF, 0xFFFF
BLOCK_BYTES, BLOCK_HEADER_BYTES = 65_535, 5
EMPTY_BLOCK = b"\x01\x00\x00\xff\xff"

DEFLATED = 8
VERSION, ZIP64_VERSION = 20, 45
FLAGS = 0x800 | 0x8  # names in UTF-8; a data descriptor follows the bytes
UNIX = 3
UNIX_MODE = 0o100644 << 16  # a regular file
ZIP64_EXTRA, TIMESTAMP_EXTRA = 0x0001, 0x5455
ZIP64_END_BYTES = 56

MIN_TIME, MAX_TIME = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)
MAX_32_BIT_TIME = datetime(2038, 1, 19, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Member:
    """An entry: its path, its size in bytes, and when it was modified."""

    path: str
    size: int
    modified: datetime

    @property
    def packed_size(self) -> int:
        blocks = max(1, -(-self.size // BLOCK_BYTES))
        return self.size + blocks * BLOCK_HEADER_BYTES

    @property
    def is_zip64(self) -> bool:
        """Whether the descriptor has 64-bit sizes: by the sizes alone, as Java 17 and older assume."""
        return self.packed_size > MAX_32_BITS


def write(entries: Iterable[tuple[Member, Iterable[bytes]]]) -> Generator[bytes, None, None]:
    """Yield the bytes of a zip as those of its entries arrive.

    The caller must refuse an entry of another size than its member says: the offsets after it would be wrong.
    """
    directory: list[bytes] = []
    offset = 0
    for member, body in entries:
        yield _local_header(member)
        crc = position = 0
        for chunk in body:
            crc = zlib.crc32(chunk, crc)
            yield b"".join(_blocks(chunk, position, member.size))
            position += len(chunk)
        if not member.size:
            yield EMPTY_BLOCK
        yield _descriptor(member, crc)
        directory.append(_central_header(member, crc, offset))
        offset += _entry_bytes(member)
    yield from directory
    yield _end(len(directory), sum(map(len, directory)), offset)


def length_of(members: Sequence[Member]) -> int:
    """Return how many bytes `write` yields for entries of these sizes."""
    offset = directory = 0
    for member in members:
        directory += len(_central_header(member, 0, offset))
        offset += _entry_bytes(member)
    return offset + directory + len(_end(len(members), directory, offset))


def _entry_bytes(member: Member) -> int:
    return len(_local_header(member)) + member.packed_size + len(_descriptor(member, 0))


def _blocks(chunk: bytes, position: int, size: int) -> Iterator[bytes | memoryview]:
    """Yield this chunk of an entry, with a header wherever a block begins.

    Blocks begin at fixed offsets of the entry, however its bytes are cut into chunks.
    """
    view = memoryview(chunk)
    while view:
        block_offset = position % BLOCK_BYTES
        if not block_offset:
            length = min(BLOCK_BYTES, size - position)
            yield struct.pack("<BHH", position + length == size, length, length ^ MAX_16_BITS)
        piece = view[: BLOCK_BYTES - block_offset]
        yield piece
        position += len(piece)
        view = view[len(piece) :]


def _local_header(member: Member) -> bytes:
    name, extra = member.path.encode(), _timestamp(member)
    version, sizes = VERSION, 0
    if member.is_zip64:
        version, sizes = ZIP64_VERSION, MAX_32_BITS
        extra = struct.pack("<HHQQ", ZIP64_EXTRA, 16, 0, 0) + extra
    head = struct.pack(
        "<4sHHHLLLLHH", b"PK\3\4", version, FLAGS, DEFLATED, _dos_time(member), 0, sizes, sizes, len(name), len(extra)
    )
    return head + name + extra


def _descriptor(member: Member, crc: int) -> bytes:
    return struct.pack("<4sLQQ" if member.is_zip64 else "<4sLLL", b"PK\7\10", crc, member.packed_size, member.size)


def _central_header(member: Member, crc: int, offset: int) -> bytes:
    """Return the entry's header in the central directory, with a Zip64 extra field for numbers above 32 bits."""
    name, extra = member.path.encode(), _timestamp(member)
    numbers = [member.size, member.packed_size, offset]
    large = [number for number in numbers if number >= MAX_32_BITS]
    if large:
        extra = struct.pack(f"<HH{len(large)}Q", ZIP64_EXTRA, 8 * len(large), *large) + extra
    size, packed_size, offset = (min(number, MAX_32_BITS) for number in numbers)
    version = ZIP64_VERSION if large else VERSION
    head = struct.pack(
        "<4sBBHHHLLLLHHHHHLL",
        b"PK\1\2", version, UNIX, version, FLAGS, DEFLATED, _dos_time(member), crc, packed_size, size,
        len(name), len(extra), 0, 0, 0, UNIX_MODE, offset,
    )  # fmt: skip
    return head + name + extra


def _end(count: int, directory: int, offset: int) -> bytes:
    """Return the end of the central directory, which has `directory` bytes and begins at `offset`."""
    zip64 = b""
    if count >= MAX_16_BITS or max(directory, offset) >= MAX_32_BITS:
        zip64 = struct.pack(
            "<4sQHHLLQQQQ",
            b"PK\6\6", ZIP64_END_BYTES - 12, ZIP64_VERSION, ZIP64_VERSION, 0, 0, count, count, directory, offset,
        ) + struct.pack("<4sLQL", b"PK\6\7", 0, offset + directory, 1)  # fmt: skip
    short = min(count, MAX_16_BITS)
    end = struct.pack(
        "<4sHHHHLLH", b"PK\5\6", 0, 0, short, short, min(directory, MAX_32_BITS), min(offset, MAX_32_BITS), 0
    )
    return zip64 + end


def _dos_time(member: Member) -> int:
    """Return the time in DOS format: without a time zone (we use UTC), to two seconds."""
    moment = _clamp_time(member.modified)
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    return date << 16 | moment.hour << 11 | moment.minute << 5 | moment.second // 2


def _timestamp(member: Member) -> bytes:
    """Return the extra field with the Unix time in seconds, empty after 2038."""
    moment = _clamp_time(member.modified)
    if moment >= MAX_32_BIT_TIME:
        return b""
    return struct.pack("<HHBl", TIMESTAMP_EXTRA, 5, 1, int(moment.timestamp()))


def _clamp_time(moment: datetime) -> datetime:
    return min(max(moment.astimezone(UTC), MIN_TIME), MAX_TIME)


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
        stem, dot, extensions = name.partition(".")
        name = f"{stem.rstrip()}_{dot}{extensions}"
    return _shorten(name.rstrip(". ")).rstrip(". ")


def _numbered(name: str, number: int) -> str:
    stem, extension = split_extension(name)
    suffix = f" ({number})"
    return _truncate(stem, MAX_SEGMENT_BYTES - len((suffix + extension).encode())) + suffix + extension


def _shorten(name: str) -> str:
    stem, extension = split_extension(name)
    return _truncate(stem, MAX_SEGMENT_BYTES - len(extension.encode())) + extension


def _truncate(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")
