"""Find the pictures that a camera stored inside a RAW file (CR2, NEF, ARW, DNG, PEF, SRW: all are TIFF).

The sensor's data is not decoded: cameras add a JPEG, often in full size, for their own display.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_DIRECTORIES, MAX_ENTRIES, MAX_VALUES = 32, 512, 64
MAX_SEGMENTS = 200  # of a JPEG before its size
# TIFF 6.0 and TIFF/EP (ISO 12234-2)
PHOTOMETRIC, STRIPS, ORIENTATION, STRIP_SIZES = 262, 273, 274, 279
SUB_DIRECTORIES, JPEG, JPEG_SIZE, EXIF, DNG_VERSION = 330, 513, 514, 34665, 50706
SENSOR_DATA = {32803, 34892}  # color filter array, linear raw
CR2_MARK = b"CR\x02"  # after the header
TYPES = {1: "B", 3: "H", 4: "I", 13: "I"}  # byte, short, long, directory
JPEG_START = b"\xff\xd8"
FRAMES = {0xC0, 0xC1, 0xC2}  # of what browsers call a JPEG; RAW data is often a lossless one, 0xC3
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length

Directory = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A JPEG within a file, and the Exif orientation of the photo."""

    offset: int
    size: int
    orientation: int

    def read(self, source: BinaryIO) -> bytes:
        return _read_at(source, self.offset, self.size)


def embedded_jpeg(source: BinaryIO) -> Embedded | None:
    """Return the largest JPEG in a RAW file, or None for other files and for RAW files without one."""
    header = _read_at(source, 0, 16)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(header[:4])
    if not order or len(header) < 8:
        return None
    directories = list(_directories(source, order, struct.unpack(f"{order}I", header[4:8])[0]))
    is_raw = header[8:11] == CR2_MARK or any(
        DNG_VERSION in directory or SENSOR_DATA.intersection(directory.get(PHOTOMETRIC, ()))
        for directory in directories
    )
    if not is_raw:
        return None
    orientation = next((directory[ORIENTATION][0] for directory in directories if directory.get(ORIENTATION)), 1)
    candidates = [place for directory in directories for place in _places(directory)]
    pixels = {place: _pixels(source, *place) for place in candidates}
    best = max(pixels, key=lambda place: pixels[place], default=None)
    return Embedded(*best, orientation) if best and pixels[best] else None


def _directories(source: BinaryIO, order: str, first: int) -> Iterator[Directory]:
    """Yield each directory of the file once, even if several entries point to it."""
    offsets, seen = [first], set[int]()
    while offsets and len(seen) < MAX_DIRECTORIES:
        offset = offsets.pop(0)
        if not offset or offset in seen:
            continue
        seen.add(offset)
        directory, following = _directory(source, order, offset)
        yield directory
        offsets += [*directory.get(SUB_DIRECTORIES, ()), *directory.get(EXIF, ()), following]


def _directory(source: BinaryIO, order: str, offset: int) -> tuple[Directory, int]:
    """Return the tags that are whole numbers, and the offset of the following directory."""
    count = int.from_bytes(_read_at(source, offset, 2), "little" if order == "<" else "big")
    if count > MAX_ENTRIES:
        return {}, 0
    body = _read_at(source, offset + 2, count * 12 + 4)
    directory = {}
    for at in range(0, min(count * 12, len(body) - 11), 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", body, at)
        if kind not in TYPES or not 0 < length <= MAX_VALUES:
            continue
        values = struct.Struct(f"{order}{length}{TYPES[kind]}")
        raw = body[at + 8 : at + 12]
        if values.size > 4:
            raw = _read_at(source, struct.unpack(f"{order}I", raw)[0], values.size)
        if len(raw) >= values.size:
            directory[tag] = values.unpack_from(raw)
    following = struct.unpack_from(f"{order}I", body, count * 12)[0] if len(body) >= count * 12 + 4 else 0
    return directory, following


def _places(directory: Directory) -> Iterator[tuple[int, int]]:
    """Yield the offset and size of what may be a JPEG."""
    for offset_tag, size_tag in ((JPEG, JPEG_SIZE), (STRIPS, STRIP_SIZES)):
        offsets, sizes = directory.get(offset_tag, ()), directory.get(size_tag, ())
        if len(offsets) == len(sizes) == 1:
            yield offsets[0], sizes[0]


def _pixels(source: BinaryIO, offset: int, size: int) -> int:
    """Return how many pixels the JPEG there has; 0 if there is no JPEG, or one that only RAW converters decode."""
    end = offset + size
    if _read_at(source, offset, 2) != JPEG_START:
        return 0
    at = offset + 2
    for _ in range(MAX_SEGMENTS):
        marker = _read_at(source, at, 4)
        if at >= end or len(marker) < 4 or marker[0] != 0xFF:
            return 0
        if marker[1] in FRAMES:
            height, width = struct.unpack(">HH", _read_at(source, at + 5, 4).ljust(4, b"\0"))
            return int(width * height)
        if marker[1] == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 if marker[1] in ALONE else 2 + struct.unpack(">H", marker[2:])[0]
    return 0


def _read_at(source: BinaryIO, offset: int, size: int) -> bytes:
    return os.pread(source.fileno(), size, offset)
