"""Previews: their contents, files without one, and cleanup after errors."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image
from pytest_django import Settings

from tests.support import pictures
from tests.support.pictures import BLUE, RED, as_file, has_color, opened, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, s3, services
from uploads.errors import StorageUnavailable
from uploads.models import Category, File, Preview, PreviewKind, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.services.sweep import sweep

pytestmark = pytest.mark.slow

GPS, ORIENTATION = 0x8825, 0x0112


def create_previews(upload_client: UploadClient, body: bytes, **more: Any) -> dict[str, Preview]:
    """Upload these bytes, make their previews, and return the rows by kind."""
    file = upload_client.send(body, **{"name": "x.bin", **more})
    services.make_previews(file)
    return {preview.kind: preview for preview in Preview.objects.filter(file=file)}


def picture(bucket: Bucket, preview: Preview) -> Image.Image:
    assert preview.state == PreviewState.READY, preview.reason
    return opened(bucket.read(preview.key))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_image_gets_a_thumbnail_and_a_picture(upload_client: UploadClient, bucket: Bucket, kind: str) -> None:
    previews = create_previews(upload_client, as_file(two_halves(2400, 1200), kind))
    assert set(previews) == {PreviewKind.THUMBNAIL, PreviewKind.PICTURE}
    for kind, size in ((PreviewKind.THUMBNAIL, (320, 160)), (PreviewKind.PICTURE, (1600, 800))):
        image, row = picture(bucket, previews[kind]), previews[kind]
        assert (image.format, image.size, (row.width, row.height)) == ("WEBP", size, size)
        assert row.size == len(bucket.read(row.key)) == bucket.objects()[row.key]
        assert has_color(image, 0.25, 0.5, RED)
        assert has_color(image, 0.75, 0.5, BLUE)


def test_small_image_is_not_enlarged(upload_client: UploadClient, bucket: Bucket) -> None:
    previews = create_previews(upload_client, as_file(two_halves(30, 20)))
    assert (
        picture(bucket, previews[PreviewKind.PICTURE]).size
        == picture(bucket, previews[PreviewKind.THUMBNAIL]).size
        == (30, 20)
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_image_mode_is_converted(upload_client: UploadClient, bucket: Bucket, mode: str) -> None:
    image = Image.new("L", (200, 100), 200).convert({"I;16": "I;16", "I": "I", "F": "F"}.get(mode, mode))
    kind = "TIFF" if mode in {"CMYK", "F", "I"} else "PNG"
    assert picture(bucket, create_previews(upload_client, as_file(image, kind))[PreviewKind.PICTURE]).size == (200, 100)


def test_cmyk_image_keeps_its_colors(upload_client: UploadClient, bucket: Bucket) -> None:
    previews = create_previews(upload_client, as_file(two_halves().convert("CMYK"), "JPEG", quality=95))
    assert has_color(picture(bucket, previews[PreviewKind.PICTURE]), 0.25, 0.5, RED)


def test_transparency_is_kept(upload_client: UploadClient, bucket: Bucket) -> None:
    previews = create_previews(upload_client, as_file(Image.new("RGBA", (100, 100), (255, 0, 0, 0))))
    assert picture(bucket, previews[PreviewKind.THUMBNAIL]).convert("RGBA").getpixel((50, 50))[3] == 0  # type: ignore[index]


@pytest.mark.parametrize(("turned", "red_at"), [(1, (0.2, 0.5)), (3, (0.8, 0.5)), (6, (0.5, 0.2)), (8, (0.5, 0.8))])
def test_orientation_of_a_photo_is_applied(
    upload_client: UploadClient, bucket: Bucket, turned: int, red_at: tuple[float, float]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    image = picture(
        bucket, create_previews(upload_client, as_file(two_halves(600, 300), "JPEG", exif=exif))[PreviewKind.PICTURE]
    )
    assert image.size == ((300, 600) if turned in {6, 8} else (600, 300))
    assert has_color(image, *red_at, RED)


def test_previews_contain_no_metadata(upload_client: UploadClient, bucket: Bucket) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(GPS)[1] = "N"
    body = as_file(two_halves(), "JPEG", exif=exif, comment=b"SecretWord")
    assert b"SecretCamera" in body
    for preview in create_previews(upload_client, body).values():
        image = picture(bucket, preview)
        assert not image.getexif()
        assert set(image.info) <= {"loop", "background", "timestamp", "duration"}
        assert b"Secret" not in bucket.read(preview.key)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_preview_of_an_animation_is_its_first_frame(upload_client: UploadClient, bucket: Bucket, kind: str) -> None:
    frames = [Image.new("RGB", (100, 100), colour) for colour in (RED, BLUE)]
    body = as_file(frames[0], kind, save_all=True, append_images=frames[1:])
    image = picture(bucket, create_previews(upload_client, body)[PreviewKind.PICTURE])
    assert getattr(image, "n_frames", 1) == 1
    assert has_color(image, 0.5, 0.5, RED)


def test_preview_of_a_pdf_is_its_first_page(upload_client: UploadClient, bucket: Bucket) -> None:
    image = picture(bucket, create_previews(upload_client, pictures.pdf(), name="plan.pdf")[PreviewKind.PICTURE])
    assert image.size == (1600, 800)
    assert has_color(image, 0.25, 0.5, (255, 0, 0))
    assert has_color(image, 0.75, 0.5, (255, 255, 255))


# --- text -------------------------------------------------------------------------------------

TEXTS = {
    "plain": (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
    "utf-8": ("żółw ☂\n".encode(), "żółw ☂\n"),
    "marked": (b"\xef\xbb\xbf" + "żółw\n".encode(), "żółw\n"),
    "utf-16": ("żółw words and words\n".encode("utf-16"), "żółw words and words\n"),
    "latin-1": ("caf\xe9 au lait, s'il vous pla\xeet\n".encode("latin-1"), "café au lait, s'il vous plaît\n"),
    "code": (b"#!/bin/sh\necho \x1b[31mred\n", "#!/bin/sh\necho [31mred\n"),
    "turned": ("if access \u202e// nope\u202c:\n".encode(), "if access // nope:\n"),
    "html": (b"<html><script>alert(1)</script></html>", "<html><script>alert(1)</script></html>"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_excerpt_of_a_text_is_decoded_and_cleaned(upload_client: UploadClient, bucket: Bucket, name: str) -> None:
    body, expected = TEXTS[name]
    previews = create_previews(upload_client, body, name="x.txt", type="text/plain")
    assert set(previews) == {PreviewKind.EXCERPT}
    assert bucket.read(previews[PreviewKind.EXCERPT].key).decode() == expected


def test_excerpt_of_a_long_text_is_limited(upload_client: UploadClient, bucket: Bucket) -> None:
    previews = create_previews(upload_client, "ä".encode() * 100_000, name="x.txt")
    assert bucket.read(previews[PreviewKind.EXCERPT].key).decode() == "ä" * (32 * 1024)


# --- files without a preview --------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", bytes(range(256)) * 9, b"PK\x03\x04" + b"\0" * 60], ids=["empty", "binary", "zip"]
)
def test_unsupported_file_has_no_preview_rows(upload_client: UploadClient, bucket: Bucket, body: bytes) -> None:
    assert create_previews(upload_client, body, name="photo.png", type="") == {}
    assert len(bucket.objects()) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (as_file(two_halves())[:40], "corrupted"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0", "corrupted"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + b"nonsense" * 99, "corrupted"),
        (pictures.pdf(password="secret"), "password"),
        (as_file(Image.new("L", (19_000, 19_000))), "too large"),
    ],
    ids=["cut off", "header only", "no pdf", "locked", "bomb"],
)
def test_failed_preview_has_a_reason_and_is_not_retried(
    upload_client: UploadClient, bucket: Bucket, body: bytes, reason: str
) -> None:
    previews = create_previews(upload_client, body)
    assert {preview.state for preview in previews.values()} == {PreviewState.FAILED}
    assert all(reason in preview.reason for preview in previews.values())
    assert len(bucket.objects()) == 1
    assert not services.make_previews(File.objects.get())


def test_file_that_is_too_large_is_not_downloaded(
    alice: User, bucket: Bucket, upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.previews.renderer.MAX_PICTURE_BYTES", 100)
    monkeypatch.setattr(s3, "read", lambda key, **_: pytest.fail("it was fetched"))
    previews = create_previews(upload_client, as_file(two_halves()))
    assert "too large" in previews[PreviewKind.PICTURE].reason


# --- rows, objects and races ----------------------------------------------------------------------


def test_make_previews_is_safe_to_repeat(upload_client: UploadClient, bucket: Bucket) -> None:
    create_previews(upload_client, as_file(two_halves()))
    before = bucket.objects()
    assert not services.make_previews(File.objects.get())
    assert bucket.objects() == before


def test_leased_preview_is_not_started_again(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(b"words", name="a.txt")
    Preview.objects.create(file=file, kind=PreviewKind.EXCERPT, lease_until=seconds_from_now(60))
    assert not services.make_previews(file)
    Preview.objects.update(lease_until=seconds_from_now(-1))
    assert services.make_previews(file)
    assert Preview.objects.get().state == PreviewState.READY


def test_unavailable_storage_leaves_the_preview_pending_without_lease(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload_client.send(as_file(two_halves()))
    with monkeypatch.context() as patch:
        patch.setattr(s3, "put", raise_unavailable)
        with pytest.raises(StorageUnavailable):
            services.make_previews(file)
    assert {preview.state for preview in Preview.objects.all()} == {PreviewState.PENDING}
    assert services.make_previews(file)
    assert {preview.state for preview in Preview.objects.all()} == {PreviewState.READY}
    assert len(bucket.objects()) == 3


def raise_unavailable(*_: Any, **__: Any) -> None:
    raise StorageUnavailable


def test_interrupted_download_leaves_the_preview_pending(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload_client.send(as_file(two_halves()))

    def half(key: str, **_: Any) -> Any:
        yield b"half"
        raise StorageUnavailable

    monkeypatch.setattr(s3, "read", half)
    with pytest.raises(StorageUnavailable):
        services.make_previews(file)
    assert {preview.state for preview in Preview.objects.all()} == {PreviewState.PENDING}


def test_vanished_object_is_reported(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(as_file(two_halves()))
    bucket.delete(file.key)
    services.make_previews(file)
    assert {preview.reason for preview in Preview.objects.all()} == {"The file is missing from storage."}


def test_trashed_file_gets_no_preview(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    file = upload_client.send(b"words", name="a.txt")
    actions.trash_file(file, by=alice)
    assert not services.make_previews(file)
    assert not Preview.objects.exists()


def test_file_purged_during_rendering_leaves_no_objects(
    upload_client: UploadClient, alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.TRASH_RETENTION_DAYS = 0
    file = upload_client.send(as_file(two_halves()))
    put = s3.put

    def trash_then_put(key: str, body: bytes, **more: Any) -> None:
        actions.trash_file(file, by=alice)
        File.objects.filter(pk=file.pk).update(purge_after=seconds_from_now(-1))
        sweep()
        assert File.objects.get().state == State.DELETING  # it waits for the leased preview
        monkeypatch.setattr(s3, "put", put)
        put(key, body, **more)

    monkeypatch.setattr(s3, "put", trash_then_put)
    services.make_previews(file)
    File.objects.update(signed_until=None)
    sweep()
    assert not File.objects.exists()
    assert bucket.objects() == {}


def test_preview_object_is_deleted_if_its_row_is_gone(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload_client.send(b"words", name="a.txt")
    put = s3.put

    def put_after_row_is_deleted(key: str, body: bytes, **more: Any) -> None:
        Preview.objects.all().delete()
        put(key, body, **more)

    monkeypatch.setattr(s3, "put", put_after_row_is_deleted)
    services.make_previews(file)
    assert list(bucket.objects()) == [file.key]


def test_purging_a_file_deletes_its_previews(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    create_previews(upload_client, as_file(two_halves()))
    file = File.objects.get()
    File.objects.filter(pk=file.pk).update(state=State.TRASHED, purge_after=seconds_from_now(-1), signed_until=None)
    sweep()
    assert not Preview.objects.exists()
    assert bucket.objects() == {}


def test_preview_kinds_depend_on_category_type_and_size() -> None:
    kinds_for = services.kinds_for
    assert kinds_for(Category.IMAGE, "image/x-xcf", size=9) == []
    assert kinds_for(Category.IMAGE, "image/svg+xml", size=9) == [PreviewKind.THUMBNAIL, PreviewKind.PICTURE]
    assert kinds_for(Category.IMAGE, "image/png", size=9) == [PreviewKind.THUMBNAIL, PreviewKind.PICTURE]
    assert kinds_for(Category.PDF, "application/pdf", size=9) == [PreviewKind.THUMBNAIL, PreviewKind.PICTURE]
    assert kinds_for(Category.TEXT, "text/html", size=9) == [PreviewKind.EXCERPT]
    assert kinds_for(Category.TEXT, "text/html", size=0) == kinds_for(Category.VIDEO, "video/x-other", size=9) == []
    assert kinds_for(Category.VIDEO, "video/mp4", size=9) == [PreviewKind.THUMBNAIL, PreviewKind.PICTURE]
