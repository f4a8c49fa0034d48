"""The dimensions of a picture: reported by the child, validated, saved, and shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from PIL import Image

from tests.support import pictures
from tests.support.pictures import as_file, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import previews, services
from uploads.models import Preview, PreviewKind, PreviewState, new_preview_key
from uploads.previews import PreviewFailed, sandbox
from uploads.services import share_links
from uploads.services.share_links import ShareOptions

pytestmark = pytest.mark.slow

SIDEWAYS = 6  # Exif 3.0, "Orientation": held upright by a camera with a wide sensor
HEIC = Path(__file__).parents[1] / "fixtures" / "two-halves.heic"  # 60 by 40 pixels
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"/>'
MP4 = "video/mp4"


def sideways(width: int, height: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS
    return as_file(two_halves(width, height), kind, exif=exif)


def rendered(tmp_path: Path, body: bytes, media_type: str) -> dict[str, previews.Picture]:
    file, folder = tmp_path / "file", tmp_path / "drawn"
    file.write_bytes(body)
    folder.mkdir()
    return previews.render(file, media_type, folder, seconds=60)


# --- the child ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "media_type", "original"),
    [
        (sideways(4000, 3000, "JPEG"), "image/jpeg", (3000, 4000)),
        (sideways(400, 300, "TIFF"), "image/tiff", (300, 400)),
        (sideways(400, 300, "WEBP"), "image/webp", (300, 400)),
        (as_file(two_halves(4001, 11)), "image/png", (4001, 11)),
        (as_file(two_halves(40, 30), "GIF"), "image/gif", (40, 30)),
        (HEIC.read_bytes(), "image/heic", (60, 40)),
    ],
    ids=["JPEG", "TIFF", "WEBP", "PNG", "GIF", "HEIC"],
)
def test_dimensions_are_those_of_the_upright_original(
    tmp_path: Path, body: bytes, media_type: str, original: tuple[int, int]
) -> None:
    assert rendered(tmp_path, body, media_type)["picture"].original == original


@pytest.mark.parametrize(
    ("body", "media_type"),
    [(SVG, "image/svg+xml"), (pictures.pdf(), "application/pdf"), (as_file(two_halves(), "TIFF"), "image/x-adobe-dng")],
    ids=["SVG", "PDF", "RAW"],
)
def test_other_files_have_no_dimensions(tmp_path: Path, body: bytes, media_type: str) -> None:
    assert rendered(tmp_path, body, media_type)["picture"].original is None


@pytest.mark.parametrize(("frame", "original"), [((1280, 720), (1280, 720)), ((1600, 900), None)])
def test_dimensions_of_a_video_are_those_of_a_frame_that_was_not_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: tuple[int, int], original: tuple[int, int] | None
) -> None:
    (tmp_path / "frame.png").write_bytes(as_file(two_halves(*frame)))
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport shutil, sys\nshutil.copy('{tmp_path}/frame.png', sys.argv[-1])\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert rendered(tmp_path, b"a film", MP4)["picture"].original == original


# --- the parent ---------------------------------------------------------------------------------------


@pytest.fixture
def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`reported(original)` returns the picture of a child that reports this size."""

    def run_child(*_: str, seconds: float) -> None:
        for kind in ("thumbnail", "picture"):
            (tmp_path / f"{kind}.webp").write_bytes(as_file(two_halves(10, 10), "WEBP"))

    def report(original: Any) -> previews.Picture:
        sizes = {"thumbnail": [10, 10], "picture": [10, 10]}
        sandbox.save_report(tmp_path, {"sizes": sizes, "original": original})
        return previews.render(tmp_path / "file", "image/png", tmp_path)["picture"]

    monkeypatch.setattr("uploads.previews.renderer._run_child", run_child)
    return report


@pytest.mark.parametrize(
    "original",
    [
        [0, 1], [1, -1], [2**31, 1], [10**400, 1], [1.5, 1], [1.0, 1], [float("nan"), 1], [float("inf"), 1],
        [True, True], ["1", "1"], [None, 1], [[1], 1], [1], [1, 1, 1], [], "12", 7, 0, False, {"1": 1, "2": 2},
    ],
    ids=lambda original: str(original)[:20],
)  # fmt: skip
def test_invalid_dimensions_of_the_child_are_rejected(reported: Any, original: Any) -> None:
    with pytest.raises(PreviewFailed, match="corrupted"):
        reported(original)


@pytest.mark.parametrize("original", [(1, 1), (2**31 - 1, 2**31 - 1), None])
def test_valid_dimensions_of_the_child_are_accepted(reported: Any, original: tuple[int, int] | None) -> None:
    assert reported(original).original == original


# --- rows and pages -----------------------------------------------------------------------------------


def test_dimensions_are_in_the_row_of_the_picture(upload_client: UploadClient, bucket: Bucket) -> None:
    services.make_previews(upload_client.send(sideways(2400, 1800, "JPEG"), name="photo.jpg"))
    fields = ("kind", "width", "height", "original_width", "original_height")
    assert set(Preview.objects.values_list(*fields)) == {
        (PreviewKind.THUMBNAIL, 240, 320, None, None),
        (PreviewKind.PICTURE, 1200, 1600, 1800, 2400),
    }


def test_pages_of_a_file_show_its_dimensions(
    upload_client: UploadClient, bucket: Bucket, alice: User, as_bob: Client
) -> None:
    file = upload_client.send(sideways(2400, 1800, "JPEG"), name="photo.jpg")
    services.make_previews(file)
    _link, token = share_links.share_file(file, ShareOptions(days=7), by=alice)
    pages = [(as_bob, file.get_absolute_url()), (Client(), f"/s/{token}/")]
    for client, url in pages:
        assert "<dd>1,800 × 2,400 pixels</dd>" in client.get(url).text
    Preview.objects.update(original_width=None, original_height=None)  # made by an earlier version
    for client, url in pages:
        response = client.get(url)
        assert response.status_code == 200
        assert "Dimensions" not in response.text


def test_failed_preview_shows_no_dimensions(upload_client: UploadClient, bucket: Bucket, as_bob: Client) -> None:
    file = upload_client.send(as_file(two_halves()), name="photo.png")
    services.make_previews(file)
    assert "Dimensions" in as_bob.get(file.get_absolute_url()).text
    Preview.objects.update(state=PreviewState.FAILED)
    assert "Dimensions" not in as_bob.get(file.get_absolute_url()).text


def test_rows_of_the_previous_version_have_no_dimensions(upload_client: UploadClient) -> None:
    file = upload_client.send(b"words")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO uploads_preview (file_id, kind, page, state, key, store, size, width, height, reason, "
            "lease_until) VALUES (%s, 'picture', 1, 'ready', %s, '', 0, 8, 8, '', now())",
            [file.pk, new_preview_key()],
        )
    row = Preview.objects.get()
    assert (row.original_width, row.original_height) == (None, None)
