"""Sizes, times and file categories as shown on pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.template import Context, Template
from django.utils import timezone, translation

from uploads.media_types import category_of
from uploads.templatetags import formatting
from uploads.views.presenters import split_name

NOW = datetime(2026, 11, 22, 14, 2, 11, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (48_123, "48 kB"),
        (999_600, "1 MB"),
        (12_400_000, "12.4 MB"),
        (999_600_000, "1 GB"),
        (2_100_000_000, "2.1 GB"),
        (5_000_000_000_000, "5 TB"),
        (7_000_000_000_000_000, "7,000 TB"),
    ],
)
def test_sizes_use_decimal_units(size: int, expected: str) -> None:
    assert formatting.filesize(size).replace("\u00a0", " ") == expected


def test_unknown_size_is_empty() -> None:
    assert formatting.filesize(None) == formatting.exact_bytes(None) == ""


def test_exact_bytes_are_grouped() -> None:
    assert formatting.exact_bytes(12_400_112) == "12,400,112 bytes"


def test_dimensions_are_grouped_and_translated() -> None:
    assert formatting.dimensions(4032, 3024) == "4,032 × 3,024 pixels"
    with translation.override("es"):
        assert formatting.dimensions(4032, 3024).replace("\u00a0", " ") == "4 032 × 3 024 píxeles"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (NOW, "today 14:02"),
        (NOW - timedelta(hours=14), "today 0:02"),
        (NOW - timedelta(hours=15), "yesterday 23:02"),
        (NOW - timedelta(days=2), "20 Nov"),
        (NOW - timedelta(days=400), "18 Oct 2025"),
        (NOW + timedelta(days=1), "23 Nov"),
        (NOW + timedelta(days=60), "21 Jan 2027"),
    ],
)
def test_time_format_depends_on_the_distance(time: datetime, expected: str) -> None:
    assert formatting.when(time) == expected


def test_missing_time_is_empty() -> None:
    assert formatting.when(None) == formatting.exact_time(None) == ""


def test_exact_time_includes_its_zone() -> None:
    assert formatting.exact_time(NOW) == "22 Nov 2026 14:02:11 UTC"


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("image/png", "image"),
        ("video/mp4", "video"),
        ("application/pdf", "pdf"),
        ("application/zip", "archive"),
        ("text/html", "text"),
        ("application/octet-stream", "other"),
        ("", "other"),
    ],
)
def test_media_type_has_a_category(media_type: str, kind: str) -> None:
    assert category_of(media_type) == kind


def test_filters_work_in_templates() -> None:
    template = Template("{% load formatting %}{{ size|bytes }} {{ time|when }}")
    text = template.render(Context({"size": 1_500_000, "time": NOW}))
    assert text.replace("\u00a0", " ") == "1.5 MB today 14:02"


def test_time_of_an_expiry_has_seconds_only_in_its_tooltip() -> None:
    html = formatting.time_element(NOW, "exact")
    assert 'title="22 Nov 2026 14:02:11 UTC"' in html
    assert ">22 Nov 2026 14:02 UTC</time>" in html


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("report.pdf", ""),
        ("x" * 32, ""),
        ("x" * 40 + ".pdf", "xxxx.pdf"),
        ("x" * 40, "xxxx"),
        ("no extension. but a sentence with a dot", " dot"),
        ("x" * 40 + "e\u0301fgh.pdf", "e\u0301fgh.pdf"),
        ("x" * 40 + "\U0001f469\u200d\U0001f4bbab.pdf", "\U0001f469\u200d\U0001f4bbab.pdf"),
        ("\u0301" * 40, ""),
        ("\u0645\u0633\u062a\u0646\u062f " * 8 + "English 123.pdf", ""),
    ],
)
def test_long_names_are_split_before_their_extension(name: str, tail: str) -> None:
    assert split_name(name) == {"stem": name.removesuffix(tail), "tail": tail}


@pytest.mark.parametrize(
    ("name", "category", "expected"),
    [
        ("Budget.XLSX", "document", "sheet"),
        ("pitch.key", "document", "slides"),
        ("main.py", "text", "code"),
        ("list.csv", "text", "sheet"),
        ("letter.docx", "document", "document"),
        ("README", "text", "text"),
        ("photo.py", "image", "image"),
    ],
)
def test_icons_follow_category_and_extension(name: str, category: str, expected: str) -> None:
    assert formatting.icon(SimpleNamespace(name=name, category=category)) == expected
