"""Names inside a ZIP, and its length, also for sizes too large to download in a test."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploads.services.zips.archive import Member, length_of, paths_of, write

pytestmark = pytest.mark.slow

MOMENT = datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC)
GIB = 1024**3
ZEROS = bytes(16 * 1024**2)
MAX_SHORT = 65_532 * 65_535 + 10  # with its block headers, 0xFFFFFFFF bytes


def zeros(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(ZEROS)):
        yield ZEROS if size - start >= len(ZEROS) else ZEROS[: size - start]


def count_written(members: list[Member]) -> int:
    return sum(len(piece) for piece in write((member, zeros(member.size)) for member in members))


@given(st.lists(st.tuples(st.text(min_size=1, max_size=60), st.integers(0, 3000)), max_size=30))
@settings(deadline=None, max_examples=50)
def test_length_is_known_in_advance(files: list[tuple[str, int]]) -> None:
    paths = paths_of([([], name) for name, _size in files])
    members = [Member(path, size, MOMENT) for path, (_name, size) in zip(paths, files, strict=True)]
    assert count_written(members) == length_of(members)


@pytest.mark.parametrize(
    "sizes",
    [[5 * GIB, 10], [MAX_SHORT], [MAX_SHORT + 1], [2**31], [2**30, 2**30, 2**30, 2**30, 1]],
    ids=["5 GiB", "last short", "first long", "2 GiB", "far entries"],
)
def test_length_of_large_zips_is_exact(sizes: list[int]) -> None:
    members = [Member(f"{number}.bin", size, MOMENT) for number, size in enumerate(sizes)]
    assert count_written(members) == length_of(members)


# --- streaming readers ------------------------------------------------------------------


def read_streaming(archive: bytes) -> dict[str, bytes]:
    """Return the entries as Java's ZipInputStream reads them: front to back, without the central directory."""
    entries, offset = {}, 0
    while archive[offset : offset + 4] == b"PK\3\4":
        flags, method = struct.unpack_from("<HH", archive, offset + 6)
        name_length, extra_length = struct.unpack_from("<HH", archive, offset + 26)
        assert not flags & 8 or method == 8, "only DEFLATED entries can have EXT descriptor"
        inflater = zlib.decompressobj(-15)
        path = archive[offset + 30 : offset + 30 + name_length].decode()
        start = offset + 30 + name_length + extra_length
        entries[path] = inflater.decompress(archive[start:]) + inflater.flush()
        assert inflater.eof
        offset = len(archive) - len(inflater.unused_data)
        sizes = (zlib.crc32(entries[path]), offset - start, len(entries[path]))
        assert struct.unpack_from("<4sLLL", archive, offset) == (b"PK\7\10", *sizes)
        offset += 16
    assert archive[offset : offset + 4] == b"PK\1\2"
    return entries


@pytest.mark.parametrize("chunk", [1, 1000, 65_535, 65_536, 262_144])
def test_streaming_reader_reads_every_entry_for_any_chunk_size(chunk: int) -> None:
    sizes = [0, 1, 9, 65_534, 65_535, 65_536, 131_070, 131_071] if chunk > 1 else [0, 1, 70_000]
    bodies = {f"{size}.bin": random.Random(size).randbytes(size) for size in sizes}
    entries = [
        (Member(path, len(body), MOMENT), [body[at : at + chunk] for at in range(0, len(body), chunk)])
        for path, body in bodies.items()
    ]
    assert read_streaming(b"".join(write(entries))) == bodies


@pytest.mark.parametrize(("size", "format_"), [(MAX_SHORT, "<4sLLL"), (MAX_SHORT + 1, "<4sLQQ")])
def test_a_descriptor_has_64_bit_sizes_only_beyond_32_bits(size: int, format_: str) -> None:
    """Java 17 and older tell from the sizes which of the two it is."""
    last: deque[bytes] = deque(maxlen=3)
    last.extend(write([(Member("a.bin", size, MOMENT), zeros(size))]))
    descriptor = last[0]
    assert len(descriptor) == struct.calcsize(format_)
    assert struct.unpack(format_, descriptor)[3] == size


def test_more_than_65535_entries_can_be_written() -> None:
    members = [Member(f"{number}.txt", 0, MOMENT) for number in range(65_536)]
    body = io.BytesIO(b"".join(write((member, ()) for member in members)))
    assert len(body.getvalue()) == length_of(members)
    with zipfile.ZipFile(body) as archive:
        assert len(archive.namelist()) == 65_536


@pytest.mark.parametrize("year", [1970, 1980, 2037, 2038, 2107, 2200])
def test_any_time_can_be_written(year: int) -> None:
    member = Member("a.txt", 1, MOMENT.replace(year=year))
    body = io.BytesIO(b"".join(write([(member, [b"x"])])))
    with zipfile.ZipFile(body) as archive:
        assert archive.infolist()[0].date_time[0] == min(max(year, 1980), 2107)
    assert len(body.getvalue()) == length_of([member])


def test_names_are_marked_as_utf_8() -> None:
    body = io.BytesIO(b"".join(write((Member(name, 0, MOMENT), ()) for name in ("a.txt", "שלום.txt", "é.txt"))))
    with zipfile.ZipFile(body) as archive:
        assert archive.namelist() == ["a.txt", "שלום.txt", "é.txt"]
        assert all(info.flag_bits & 0x800 for info in archive.infolist())


# --- names --------------------------------------------------------------------------------------

oddly_named = st.text(st.sampled_from('abCcOoNn1. :?*"<>|\\漢'), min_size=1, max_size=6) | st.sampled_from(
    ["con", "AUX.txt", "nul .x", "COM1", "lpt9.tar.gz", "漢" * 200, "." * 254 + "漢", "x" * 254 + ".", "y" * 254 + " z"]
)


def names(*given: str) -> list[str]:
    return paths_of([(path.split("/")[:-1], path.split("/")[-1]) for path in given])


def test_the_same_name_twice_is_numbered_before_its_extension() -> None:
    assert names("a.txt", "a.txt", "a.txt", "b", "b") == ["a.txt", "a (2).txt", "a (3).txt", "b", "b (2)"]


def test_names_that_differ_only_by_case_or_normalization_are_numbered() -> None:
    assert names("A.txt", "a.TXT") == ["A.txt", "a (2).TXT"]
    assert names("caf\u00e9", "CAFE\u0301") == ["caf\u00e9", "CAF\u00c9 (2)"]
    assert names("می\u200cخواهم", "میخواهم") == ["می\u200cخواهم", "میخواهم (2)"]
    assert names("x/a", "X/A", "x/a.") == ["x/a", "X/A (2)", "x/a (3)"]


def test_numbering_skips_existing_names() -> None:
    assert names("a.txt", "a (2).txt", "a.txt") == ["a.txt", "a (2).txt", "a (3).txt"]


def test_file_is_renamed_if_a_folder_or_the_manifest_has_its_name() -> None:
    assert names("a/b.txt", "A", "a/B.txt/c") == ["a/b (2).txt", "A (2)", "a/B.txt/c"]
    assert names("sha256sums", "x/SHA256SUMS") == ["sha256sums (2)", "x/SHA256SUMS"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", ".", "C:\\x", "a\x00b", "\u202egpj.exe", ""])
def test_paths_stay_inside_the_extraction_folder(name: str) -> None:
    (path,) = paths_of([(["..", "/abs", ""], name)])
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))
    assert "\\" not in path
    assert path.isprintable()


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("12:30?.txt", "12_30_.txt"),
        ('<a> "b" *c|d.txt', "_a_ _b_ _c_d.txt"),
        ("Mr.", "Mr"),
        ("a . .", "a"),
        ("con", "con_"),
        ("Con.tar.gz", "Con_.tar.gz"),
        ("NUL .txt", "NUL_.txt"),
        ("COM1.", "COM1_"),
        ("lpt³.log", "lpt³_.log"),
        ("conout$", "conout$_"),
        ("console.log", "console.log"),
        ("com10.txt", "com10.txt"),
    ],
)
def test_names_invalid_on_windows_are_replaced(given: str, path: str) -> None:
    assert paths_of([([], given)]) == [path]
    assert paths_of([([given, "below"], "x")]) == [f"{path}/below/x"]


def test_names_that_collide_after_replacement_are_numbered() -> None:
    assert names("a:b", "a?b", "a_b", "con", "CON_") == ["a_b", "a_b (2)", "a_b (3)", "con_", "CON_ (2)"]
    assert names("a:b/c", "a?b/c", "a*b") == ["a_b/c", "a_b/c (2)", "a_b (2)"]


@given(st.lists(st.tuples(st.lists(oddly_named, max_size=2), oddly_named), max_size=8))
def test_every_path_is_valid_on_windows(places: list[tuple[list[str], str]]) -> None:
    paths = paths_of(places)
    assert len({path.casefold() for path in paths}) == len(places)
    for segment in (segment for path in paths for segment in path.split("/")):
        assert segment.partition(".")[0].strip().lower() not in {"con", "aux", "nul", "com1", "lpt9"}
        assert not set(segment) & set('<>:"|?*\\')
        assert segment == segment.rstrip(". ")
        assert 0 < len(segment.encode()) <= 255


def test_long_name_is_truncated_and_keeps_its_extension() -> None:
    for path in names("漢" * 200 + ".jpeg", "漢" * 200 + ".jpeg", "x" * 255, "x" * 255):
        assert len(path.encode()) <= 255
        assert path.endswith((".jpeg", "x", " (2)"))


def test_long_path_is_truncated_at_the_start() -> None:
    deep = [f"{number:03}" * 20 for number in range(500)]
    path, other = paths_of([(deep, "a.txt"), ([*deep, "more"], "a.txt")])
    assert path.startswith("…/")
    assert path.endswith(f"/{deep[-1]}/a.txt")
    assert len(path.encode()) < 2300
    assert other.endswith("/more/a.txt")


def test_ten_thousand_equal_names_are_numbered() -> None:
    assert paths_of([([], "a.txt")] * 10_000)[-1] == "a (10000).txt"
