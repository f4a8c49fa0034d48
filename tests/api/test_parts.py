"""Part sizes, and the checksum over parts."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.upload_client import composite, cut, sha256
from uploads import parts

MIB = 1024**2
LARGEST = 5 * 1024**4
sizes = st.integers(0, LARGEST)


@given(sizes)
def test_the_parts_of_any_size_add_up_to_it(size: int) -> None:
    part_size = parts.part_size_for(size, smallest=16 * MIB)
    count = parts.part_count(size, part_size)
    last = parts.part_length(count, size=size, part_size=part_size)
    assert (count - 1) * part_size + last == size


@given(sizes)
def test_any_size_fits_into_ten_thousand_parts(size: int) -> None:
    part_size = parts.part_size_for(size, smallest=16 * MIB)
    assert 1 <= parts.part_count(size, part_size) <= parts.MAX_PARTS


@given(st.integers(1, LARGEST), st.data())
def test_every_part_but_the_last_is_full_and_none_is_empty(size: int, data: st.DataObject) -> None:
    part_size = parts.part_size_for(size, smallest=16 * MIB)
    count = parts.part_count(size, part_size)
    number = data.draw(st.integers(1, count))
    length = parts.part_length(number, size=size, part_size=part_size)
    assert length == part_size if number < count else 0 < length <= part_size


def test_part_size_doubles_only_above_ten_thousand_parts() -> None:
    max_bytes = parts.MAX_PARTS * 16 * MIB
    assert parts.part_size_for(max_bytes, smallest=16 * MIB) == 16 * MIB
    assert parts.part_size_for(max_bytes + 1, smallest=16 * MIB) == 32 * MIB


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_sizes_near_the_part_size_have_the_right_number_of_parts(size: int, count: int) -> None:
    assert parts.part_count(size, 10) == count


def test_an_empty_file_is_one_empty_part() -> None:
    assert parts.part_length(1, size=0, part_size=10) == 0


@pytest.mark.parametrize("number", [-1, 0, 4])
def test_length_of_a_nonexistent_part_raises(number: int) -> None:
    with pytest.raises(ValueError, match="no part"):
        parts.part_length(number, size=21, part_size=10)


@given(st.binary(max_size=64))
def test_valid_digest_is_returned_unchanged(body: bytes) -> None:
    assert parts.require_digest(sha256(body)) == sha256(body)


GOOD = sha256(b"good")


@pytest.mark.parametrize(
    "text",
    [
        None, 7, b"bytes", ["a list"], {}, "", GOOD[:-1], GOOD + "=", GOOD + "\n", " " + GOOD[1:], GOOD[:-2] + "==",
        GOOD.replace(GOOD[0], "-", 1), "é" + GOOD[1:], hashlib.sha256(b"hex").hexdigest(), "=" * 44, "\x00" * 44,
        base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(33)).decode(),
    ],
)  # fmt: skip
def test_invalid_base64_sha256_is_rejected(text: object) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        parts.require_digest(text)


def test_noncanonical_spelling_of_a_digest_is_rejected() -> None:
    """The last character before `=` carries two unused bits; only zeros there are canonical."""
    digest = sha256(b"canonical")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = digest[:42] + alphabet[alphabet.index(digest[42]) ^ 1] + "="
    assert base64.b64decode(other) == base64.b64decode(digest)
    with pytest.raises(ValueError, match="SHA-256"):
        parts.require_digest(other)


@given(st.binary(max_size=100), st.integers(1, 40))
def test_checksum_of_parts_matches_s3(body: bytes, part_size: int) -> None:
    pieces = cut(body, part_size)
    assert parts.checksum_of([sha256(piece) for piece in pieces]) == composite(pieces)


def test_the_checksum_of_ten_thousand_parts_fits_its_column() -> None:
    from uploads.models import File

    checksum = parts.checksum_of([GOOD] * parts.MAX_PARTS)
    assert len(checksum) <= (File._meta.get_field("checksum").max_length or 0)
