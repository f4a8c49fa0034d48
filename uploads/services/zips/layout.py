"""The format: stored entries, written once from front to back (PKWARE APPNOTE 6.3.10), by Python's own zipfile.

Sizes are known before, digests are not: the CRC of an entry stands behind its bytes. So the length of the whole is
arithmetic, and `length_of` does what `write` will do.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zipfile import ZIP64_LIMIT, ZIP_FILECOUNT_LIMIT, ZipFile, ZipInfo

LOCAL_BYTES, CENTRAL_BYTES, END_BYTES = 30, 46, 22
DESCRIPTOR_BYTES, LONG_DESCRIPTOR_BYTES = 16, 24
LONG_SIZES_BYTES, LONG_END_BYTES = 20, 56 + 20  # Zip64: the extra field of a local header; both its end records
UTF8 = 0x800
UNIX = 3
READABLE = 0o100644 << 16
LEAST, MOST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)
LAST_32_BITS = datetime(2038, 1, 19, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Member:
    """An entry: its path, how many bytes will come, and when it was changed."""

    path: str
    size: int
    moment: datetime


class _Info(ZipInfo):
    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  (zipfile calls it so)
        """Always UTF-8, and said so: what Python does with other letters differs from version to version."""
        return self.filename.encode(), self.flag_bits | UTF8


class _Sink(io.RawIOBase):
    """Takes what zipfile writes, to be handed on. It cannot seek, and zipfile keeps to that."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes, and they are not copied
        self.pieces.append(piece)
        return len(piece)

    def take(self) -> list[bytes]:
        taken, self.pieces = self.pieces, []
        return taken


def write(entries: Iterable[tuple[Member, Iterable[bytes]]]) -> Generator[bytes, None, None]:
    """The bytes of a zip, as those of its entries come. An entry of another size than announced is the caller's
    to refuse: nothing after it would fit."""
    sink = _Sink()
    with ZipFile(sink, "w") as archive:
        for member, body in entries:
            with archive.open(_info(member), "w") as entry:
                for piece in body:
                    entry.write(piece)
                    yield from sink.take()
            yield from sink.take()
    yield from sink.take()


def length_of(members: Sequence[Member]) -> int:
    """How many bytes `write` gives for entries of these sizes."""
    place = directory = 0
    for member in members:
        info = _info(member)
        head = len(info.filename.encode()) + len(info.extra)
        long = _is_long(member)
        far = [member.size > ZIP64_LIMIT] * 2 + [place > ZIP64_LIMIT]
        directory += CENTRAL_BYTES + head + (4 + 8 * sum(far) if any(far) else 0)
        place += LOCAL_BYTES + head + (LONG_SIZES_BYTES if long else 0)
        place += member.size + (LONG_DESCRIPTOR_BYTES if long else DESCRIPTOR_BYTES)
    is_long = len(members) > ZIP_FILECOUNT_LIMIT or max(place, directory) > ZIP64_LIMIT
    return place + directory + END_BYTES + (LONG_END_BYTES if is_long else 0)


def _is_long(member: Member) -> bool:
    """Whether zipfile writes 64-bit sizes: with room for what compression could add."""
    return member.size * 1.05 > ZIP64_LIMIT


def _info(member: Member) -> ZipInfo:
    """The time stands twice: as DOS knows it, without a zone (we mean UTC), and as Unix does, in seconds."""
    moment = min(max(member.moment.astimezone(UTC), LEAST), MOST)
    info = _Info(member.path, moment.timetuple()[:6])
    info.create_system, info.external_attr, info.file_size = UNIX, READABLE, member.size
    if moment < LAST_32_BITS:
        info.extra = struct.pack("<HHBl", 0x5455, 5, 1, int(moment.timestamp()))
    return info
