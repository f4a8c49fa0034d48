"""Complete and invalid manifests."""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from pathlib import Path

import pytest

from uploads.services.manifest.format import MAX_LINE_BYTES, BadManifest, inspect, rows

HEAD = {
    "kind": "manifest",
    "format": 1,
    "installation": str(uuid.UUID(int=7)),
    "at": "2026-11-23",
    "counts": {"tag": 2},
}
TAGS = [{"kind": "tag", "id": 1, "name": "summer"}, {"kind": "tag", "id": 2, "name": "été \u2028 🎉"}]


def manifest(head: object = HEAD) -> bytes:
    lines = [json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for line in [head, *TAGS]]
    end = {"kind": "end", "lines": len(lines), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    return b"".join(lines) + json.dumps(end).encode() + b"\n"


@pytest.mark.parametrize("packed", [False, True])
def test_complete_manifest_is_read_with_or_without_gzip(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(gzip.compress(manifest()) if packed else manifest())
    assert inspect(path).counts == {"tag": 2}
    assert list(rows(path, "tag")) == TAGS
    assert list(rows(path, "file")) == []


LINES = manifest().splitlines(keepends=True)
INVALID = {
    "empty": b"",
    "not a manifest": b'{"kind":"something"}\n',
    "no object": b"[1]\n",
    "not json": b"hello\n",
    "binary": bytes(range(256)) * 10,
    "cut in a line": manifest()[:-20],
    "without its end": b"".join(LINES[:-1]),
    "without its head": b"".join(LINES[1:]),
    "a line less": b"".join(LINES[:1] + LINES[2:]),
    "a line twice": b"".join(LINES[:2] + LINES[1:]),
    "other order": b"".join([LINES[0], LINES[2], LINES[1], LINES[3]]),
    "a letter": manifest().replace(b"summer", b"Summer"),
    "more behind it": manifest() + b"\n",
    "twice": manifest() + manifest(),
    "a cut gzip": gzip.compress(manifest())[:-20],
    "a gzip with a flipped bit": gzip.compress(manifest())[:40] + b"\x00" + gzip.compress(manifest())[41:],
    "of the future": manifest().replace(b'"format":1', b'"format":2'),
}


HEADS: list[dict[str, object]] = [
    {"installation": None}, {"installation": "no-id"}, {"installation": 7}, {"at": None}, {"at": "yesterday"},
    {"counts": None}, {"counts": [1]}, {"counts": {"tag": "many"}},
]  # fmt: skip


@pytest.mark.parametrize("odd", HEADS, ids=str)
def test_first_line_with_invalid_fields_is_rejected(tmp_path: Path, odd: dict[str, object]) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(manifest({**HEAD, **odd}))
    with pytest.raises(BadManifest, match="first line"):
        inspect(path)
    path.write_bytes(manifest({name: value for name, value in HEAD.items() if name not in odd}))
    with pytest.raises(BadManifest, match="first line"):
        inspect(path)


@pytest.mark.parametrize("how", INVALID)
def test_invalid_manifest_is_rejected(tmp_path: Path, how: str) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(INVALID[how])
    with pytest.raises(BadManifest):
        inspect(path)


# --- hostile lines, from anyone with write access to the bucket ---------------------------------


def signed(*lines: bytes) -> bytes:
    """Return a manifest of these lines with a valid last line."""
    body = b"".join(line + b"\n" for line in [json.dumps(HEAD).encode(), *lines])
    end = {"kind": "end", "lines": len(lines) + 1, "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(end).encode() + b"\n"


@pytest.mark.parametrize("packed", [False, True])
def test_overlong_line_is_rejected_with_its_number(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "manifest"
    content = signed(b'{"kind":"tag"}', b'{"kind":"tag","name":"' + b"x" * (MAX_LINE_BYTES + 1) + b'"}')
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    with pytest.raises(BadManifest, match="Line 3 of the manifest is longer than"):
        inspect(path)
    with pytest.raises(BadManifest, match="Line 3 of the manifest is longer than"):
        list(rows(path, "tag"))


ODD_LINES = {
    "deep list": b'{"kind":"tag","name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"kind":"tag","name":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "long number": b'{"kind":"tag","id":' + b"9" * 5_000 + b"}",
    "cut": b'{"kind":"tag","name":"x',
    "not UTF-8": b'{"kind":"tag","name":"\xff"}',
}


@pytest.mark.parametrize("odd", ODD_LINES)
def test_invalid_line_is_rejected_with_its_number(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(signed(b'{"kind":"tag","id":1}', ODD_LINES[odd]))
    assert inspect(path).counts == {"tag": 2}
    with pytest.raises(BadManifest, match="Line 3 of the manifest is invalid: "):
        list(rows(path, "tag"))


@pytest.mark.parametrize("odd", ODD_LINES)
def test_invalid_first_line_is_rejected(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(ODD_LINES[odd] + b"\n")
    with pytest.raises(BadManifest):
        inspect(path)
