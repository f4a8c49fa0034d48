"""Names inside a zip, and the arithmetic of its length, far beyond what a test could download."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploads.services.zips.layout import Member, length_of, write
from uploads.services.zips.paths import paths_of

MOMENT = datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC)
GIB = 1024**3
ZEROS = bytes(16 * 1024**2)


def zeros(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(ZEROS)):
        yield ZEROS if size - start >= len(ZEROS) else ZEROS[: size - start]


def written(members: list[Member]) -> int:
    return sum(len(piece) for piece in write((member, zeros(member.size)) for member in members))


@given(st.lists(st.tuples(st.text(min_size=1, max_size=60), st.integers(0, 3000)), max_size=30))
@settings(deadline=None, max_examples=50)
def test_the_length_is_known_before(files: list[tuple[str, int]]) -> None:
    paths = paths_of([([], name) for name, _size in files])
    members = [Member(path, size, MOMENT) for path, (_name, size) in zip(paths, files, strict=True)]
    assert written(members) == length_of(members)


@pytest.mark.parametrize(
    "sizes",
    [[5 * GIB, 10], [2**31 - 1], [2**31], [2**31 * 100 // 105 + 2], [2**30, 2**30, 2**30, 1]],
    ids=["5 GiB", "last short", "first long", "room for growth", "far entries"],
)
def test_large_files_have_long_sizes(sizes: list[int]) -> None:
    members = [Member(f"{number}.bin", size, MOMENT) for number, size in enumerate(sizes)]
    assert written(members) == length_of(members)


def test_more_entries_than_a_short_number_counts() -> None:
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


def names(*given: str) -> list[str]:
    return paths_of([(path.split("/")[:-1], path.split("/")[-1]) for path in given])


def test_the_same_name_twice_is_numbered_before_its_extension() -> None:
    assert names("a.txt", "a.txt", "a.txt", "b", "b") == ["a.txt", "a (2).txt", "a (3).txt", "b", "b (2)"]


def test_names_that_differ_only_by_case_or_by_how_accents_are_written_are_numbered() -> None:
    assert names("A.txt", "a.TXT") == ["A.txt", "a (2).TXT"]
    assert names("caf\u00e9", "CAFE\u0301") == ["caf\u00e9", "CAF\u00c9 (2)"]
    assert names("x/a", "X/A", "x/a.") == ["x/a", "X/A (2)", "x/a (3)."]


def test_a_number_that_is_taken_is_not_given() -> None:
    assert names("a.txt", "a (2).txt", "a.txt") == ["a.txt", "a (2).txt", "a (3).txt"]


def test_a_file_does_not_take_the_name_of_a_folder_or_of_the_manifest() -> None:
    assert names("a/b.txt", "A", "a/B.txt/c") == ["a/b (2).txt", "A (2)", "a/B.txt/c"]
    assert names("sha256sums", "x/SHA256SUMS") == ["sha256sums (2)", "x/SHA256SUMS"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", ".", "C:\\x", "a\x00b", "\u202egpj.exe", ""])
def test_no_name_leads_out_of_the_folder_it_is_unpacked_in(name: str) -> None:
    (path,) = paths_of([(["..", "/abs", ""], name)])
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))
    assert "\\" not in path
    assert path.isprintable()


def test_a_name_fits_on_a_disk_and_keeps_its_extension() -> None:
    for path in names("漢" * 200 + ".jpeg", "漢" * 200 + ".jpeg", "x" * 255, "x" * 255):
        assert len(path.encode()) <= 255
        assert path.endswith((".jpeg", "x", " (2)"))


def test_a_way_that_is_too_long_keeps_its_end() -> None:
    deep = [f"{number:03}" * 20 for number in range(500)]
    path, other = paths_of([(deep, "a.txt"), ([*deep, "more"], "a.txt")])
    assert path.startswith("…/")
    assert path.endswith(f"/{deep[-1]}/a.txt")
    assert len(path.encode()) < 2300
    assert other.endswith("/more/a.txt")


def test_ten_thousand_of_one_name_are_no_matter_of_minutes() -> None:
    assert paths_of([([], "a.txt")] * 10_000)[-1] == "a (10000).txt"
