"""LibreOffice and ffmpeg in the sandbox. Fake programs replace them, to test how they are started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import pictures
from tests.support.pictures import RED, as_file, has_color, opened, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import services
from uploads.models import Category, Preview, PreviewKind, PreviewState
from uploads.previews import Picture, PreviewFailed, is_renderable, render
from uploads.services.previews import REASONS

ODT, MP4 = "application/vnd.oasis.opendocument.text", "video/mp4"
OFFICE = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--outdir") + 1])
assert pathlib.Path(sys.argv[-1]).suffix == ".odt"
assert "DisableMacrosExecution" in next(folder.glob("profile/user/*")).read_text()
"""
NETWORK = """
import socket
try:
    socket.socket(socket.AF_INET)
except PermissionError:
    pass
else:
    sys.exit()
socket.socket(socket.AF_UNIX)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, bytes], None]:
    """`program(name, code, output)` installs a fake program that runs the code and writes to `target`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(name: str, code: str, output: bytes) -> None:
        (tmp_path / "output").write_bytes(output)
        path = folder / name
        write = f"target.write_bytes(pathlib.Path({str(tmp_path / 'output')!r}).read_bytes())"
        path.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{code}\n{write}\n")
        path.chmod(0o755)

    return install


def rendered(tmp_path: Path, media_type: str) -> Picture:
    file, folder = tmp_path / "file", tmp_path / "drawn"
    file.write_bytes(b"contents")
    folder.mkdir()
    return render(file, media_type, folder, seconds=60)["picture"]


def test_preview_of_a_document_is_its_first_page(program: Callable[..., None], tmp_path: Path) -> None:
    program("soffice", OFFICE + NETWORK + "target = folder / 'document.pdf'", pictures.pdf())
    picture = rendered(tmp_path, ODT)
    assert has_color(opened(picture.body), 0.25, 0.5, (255, 0, 0))


def test_preview_of_a_video_is_a_frame(program: Callable[..., None], tmp_path: Path) -> None:
    program("ffmpeg", NETWORK + "target = pathlib.Path(sys.argv[-1])", as_file(two_halves(640, 360)))
    picture = rendered(tmp_path, MP4)
    assert (picture.width, picture.height) == (640, 360)
    assert has_color(opened(picture.body), 0.25, 0.5, RED)


@pytest.mark.parametrize(("name", "media_type"), [("soffice", ODT), ("ffmpeg", MP4)])
def test_file_that_the_program_cannot_open_is_unreadable(
    program: Callable[..., None], tmp_path: Path, name: str, media_type: str
) -> None:
    program(name, "sys.exit(1)", b"")
    with pytest.raises(PreviewFailed, match="unreadable"):
        rendered(tmp_path, media_type)


def test_program_over_the_memory_limit_is_killed(program: Callable[..., None], tmp_path: Path) -> None:
    program("soffice", "eaten = bytearray(4 * 1024**3)", b"")
    with pytest.raises(PreviewFailed, match="unreadable"):
        rendered(tmp_path, ODT)


def test_missing_program_is_reported_without_downloading_the_file(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not is_renderable(MP4)
    file = upload_client.send(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99), name="film.mp4")
    assert file.category == Category.VIDEO
    monkeypatch.setattr("uploads.s3.read", lambda *_: pytest.fail("fetched"))
    services.make_previews(file)
    rows = Preview.objects.filter(file=file)
    assert {row.kind for row in rows} == {PreviewKind.THUMBNAIL, PreviewKind.PICTURE}
    assert {(row.state, row.reason) for row in rows} == {(PreviewState.FAILED, REASONS["not_installed"])}
