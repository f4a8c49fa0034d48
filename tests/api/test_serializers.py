"""Requests of the upload protocol, parsed and validated."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.upload_client import sha256
from uploads.api.serializers import FinishUploadsSerializer, SignPartsSerializer, StartUploadsSerializer
from uploads.errors import BadDigest, Problem, ValidationFailed
from uploads.models import File, Visibility
from uploads.services.finish import FinishRequest
from uploads.services.start import NewUpload

DIGEST = sha256(b"digest")
FILE = File(size=23, part_size=10)  # three parts
BAD_BODIES = [
    b"", b"{", b"nonsense", b"null", b"1", b"[]", b'""', b"{}", b'{"files": null}', b'{"files": {}}', b'{"files": "x"}',
    b'{"files": []}', b'{"files": [1]}', b'{"files": [null]}', b'{"files": [[]]}', b"\xff\xfe\xfd", b'{"files": [{}]}',
    b'{"files": [{"token": 1}]}', b'{"files": [{"token": "x", "id": "x"}]}', b"[" * 100_000,
    b'{"files":' * 50_000, b'{"files": [' + b"9" * 5000 + b"]}", b'{"parts": []}', b"\x00",
    b'{"files": [{"id": null}]}', b'{"parts": [1]}', b'{"parts": {}}',
]  # fmt: skip
BAD_IDS: list[Any] = [None, "", 7, 1.5, [], {}, True, "x", "0" * 31, "0" * 33, "g" * 32, "\x00" * 36, "0" * 10_000]
BAD_DIGESTS: list[Any] = [
    "", "x", DIGEST[:-1], DIGEST + "=", DIGEST[:-1] + "!", "é" + DIGEST[1:], "\x00" * 44, 7, [], {}, True, [DIGEST],
    "A" * 44, DIGEST.replace("=", ""), "0" * 64, "\ud800" * 44,
]  # fmt: skip


def body(member: str, *items: dict[str, Any]) -> bytes:
    return json.dumps({member: items}).encode()


def item(**members: Any) -> dict[str, Any]:
    return {"token": str(uuid.uuid4()), "name": "a.txt", "size": 1, **members}


def read_file(**members: Any) -> NewUpload | Problem:
    ((_token, result),) = StartUploadsSerializer.read(body("files", item(**members))).files
    return result


def new_upload(**members: Any) -> NewUpload:
    result = read_file(**members)
    assert isinstance(result, NewUpload), result
    return result


def finish_request(digests: Any) -> FinishRequest | Problem:
    files = body("files", {"id": str(uuid.uuid4()), "sha256": digests})
    ((_id, result),) = FinishUploadsSerializer.read(files).files
    return result


@pytest.mark.parametrize("data", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_malformed_body_is_refused(data: bytes) -> None:
    for read in (StartUploadsSerializer.read, FinishUploadsSerializer.read):
        with pytest.raises(ValidationFailed):
            read(data)
    with pytest.raises(ValidationFailed):
        SignPartsSerializer.read(data, FILE)


@pytest.mark.parametrize(
    "data",
    [
        body("files", *[item(id=str(uuid.uuid4())) for _ in range(101)]),
        body("files", *[item(token=token, id=token) for token in ("ab" * 16, "AB" * 16)]),
    ],
    ids=["101 files", "the same id twice"],
)
@pytest.mark.parametrize("read", [StartUploadsSerializer.read, FinishUploadsSerializer.read])
def test_too_many_and_repeated_files_are_refused(read: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(ValidationFailed):
        read(data)


@pytest.mark.parametrize("value", BAD_IDS, ids=range(len(BAD_IDS)))
def test_invalid_uuid_is_refused(value: Any) -> None:
    with pytest.raises(ValidationFailed):
        StartUploadsSerializer.read(body("files", item(token=value)))
    with pytest.raises(ValidationFailed):
        FinishUploadsSerializer.read(body("files", {"id": value, "sha256": [DIGEST]}))


BAD_SIZES: list[Any] = [
    None, -1, 0.5, 1.0, "5", "", [], {}, True, False, 2**63, 10**100, float("inf"), float("nan"), -(10**400),
]  # fmt: skip
BAD_NAMES: list[Any] = [None, "", "   ", "\t\r\n", "\u3000", 7, [], {}, True, "x" * 10_000, "😀" * 10_000]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("size", size) for size in BAD_SIZES),
        *(("name", name) for name in BAD_NAMES),
        ("folder", 7), ("folder", "x/" * 600), ("folder", []), ("type", 7), ("type", []), ("modified", "today"),
        ("modified", True), ("modified", []), ("visibility", "world"), ("visibility", 7), ("visibility", ""),
        ("visibility", ["team"]), ("visibility", "team\x00"), ("replaces", 7), ("replaces", "x"),
    ],
    ids=range(41),
)  # fmt: skip
def test_invalid_member_of_a_file_is_refused(member: str, value: Any) -> None:
    assert isinstance(read_file(**{member: value}), ValidationFailed)


@pytest.mark.parametrize("member", ["name", "size"])
def test_missing_member_of_a_file_is_refused(member: str) -> None:
    data = item()
    del data[member]
    ((_token, result),) = StartUploadsSerializer.read(body("files", data)).files
    assert isinstance(result, ValidationFailed)


@pytest.mark.parametrize("digest", BAD_DIGESTS, ids=range(len(BAD_DIGESTS)))
def test_invalid_digest_is_refused(digest: Any) -> None:
    assert isinstance(read_file(sha256=digest), BadDigest)
    assert isinstance(finish_request([DIGEST, digest]), BadDigest)
    with pytest.raises(BadDigest):
        SignPartsSerializer.read(body("parts", {"number": 1, "sha256": digest}), FILE)


@pytest.mark.parametrize("digests", [None, "", DIGEST, {}, 7, [], [None], [DIGEST] * 10_001], ids=range(8))
def test_invalid_list_of_digests_is_refused(digests: Any) -> None:
    assert isinstance(finish_request(digests), BadDigest)


@pytest.mark.parametrize(
    ("member", "value", "cleaned"),
    [
        ("name", "a\x00b.txt", "ab.txt"),
        ("name", "\u202egpj.exe", "gpj.exe"),
        ("name", "../../etc/passwd", "passwd"),
        ("name", "..\\..\\boot.ini", "boot.ini"),
        ("name", "..", "unnamed"),
        ("name", "a\ud800.txt", "a.txt"),
        ("name", "x" * 900 + ".jpeg", "x" * 250 + ".jpeg"),
        ("name", "<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
        ("folder", "a\x00/\u202eb", "a/b"),
        ("folder", "/../..", ""),
        ("type", "text/\x00html", ""),
        ("type", "x" * 300, ""),
        ("type", "téxt", ""),
    ],
)
def test_text_is_cleaned(member: str, value: str, cleaned: str) -> None:
    upload = new_upload(**{member: value})
    assert {"name": upload.name, "folder": upload.folder, "type": upload.declared_type}[member] == cleaned


@pytest.mark.parametrize("modified", [0, -1, -62_135_596_800_000, 253_402_300_799_000, 1.5])
def test_modified_is_milliseconds_since_1970(modified: float) -> None:
    assert new_upload(modified=modified).modified == datetime.fromtimestamp(modified / 1000, UTC)


@pytest.mark.parametrize("modified", [10**30, -(10**400), float("inf"), float("nan")])
def test_time_that_python_cannot_represent_is_dropped(modified: float) -> None:
    assert new_upload(modified=modified).modified is None


def test_optional_members_have_defaults() -> None:
    upload = new_upload()
    assert (upload.folder, upload.declared_type, upload.modified, upload.replaces, upload.sha256) == (
        "", "", None, None, None
    )  # fmt: skip
    assert upload.visibility == Visibility.TEAM
    assert new_upload(size=0).size == 0


@pytest.mark.parametrize("number", [0, -1, 4, 10_001, 2**70, "1", 1.0, 1.5, None, True, [], {}], ids=str)
def test_part_that_the_file_does_not_have_is_refused(number: Any) -> None:
    with pytest.raises(ValidationFailed):
        SignPartsSerializer.read(body("parts", {"number": number, "sha256": DIGEST}), FILE)


def test_same_part_twice_is_refused() -> None:
    with pytest.raises(ValidationFailed):
        SignPartsSerializer.read(body("parts", {"number": 1}, {"number": 2}, {"number": 1}), FILE)
