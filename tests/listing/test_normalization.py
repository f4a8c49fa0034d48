"""Search, sorting and tags ignore case and accents, but distinguish letters."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import factories
from tests.support.file_rows import ensure_folder
from uploads import actions, names
from uploads.models import File, Tag
from uploads.names import clean_name, normalize_for_search


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Été №2.PDF", "ete no2.pdf"),
        ("Zażółć GĘŚLĄ jaźń", "zazolc gesla jazn"),
        ("ŁÓDŹ", "lodz"),
        ("Ørsted", "orsted"),
        ("Đà Nẵng", "da nang"),
        ("Đorđe", "Dorde"),
        ("Ħal Għaxaq", "hal ghaxaq"),
        ("Ŧŋĸ", "tnk"),
        ("Œuvre", "oeuvre"),
        ("Ægir", "aegir"),
        ("Þórður", "thordur"),
        ("Straße STRAẞE", "STRASSE strasse"),
        ("ſtraſse", "strasse"),
        ("ɓaɗa ƙasa Ƴan", "bada kasa yan"),
        ("Azərbaycan", "azerbaycan"),
        ("IŞIK İstanbul", "ışık istanbul"),
        ("ışık", "IŞIK"),
        ("ışık", "isik"),
        ("ﬁnal Ａ４", "final a4"),
        ("ΆΣΟΣ", "ασος"),
        ("Ёлка", "елка"),
        ("е\u0308лка за\u0301мок", "ёлка замок"),
        ("ｶﾞｽ", "ガス"),
        ("か\u3099", "が"),
        ("مَكتَبة", "مكتبة"),
        ("שָׁלוֹם", "שלום"),
        ("می\u200cخواهم", "میخواهم"),
        ("میخواهم", "می\u200cخواهم"),
        ("ශ්\u200dරී", "ශ්රී"),
        ("❤\ufe0f", "❤"),
        ("한국", "한국"),
        ("Ａ＼Ｂ", "a\\b"),
    ],
)
def test_case_accents_and_forms_are_ignored(name: str, query: str) -> None:
    assert normalize_for_search(name) == normalize_for_search(query)
    assert normalize_for_search(name) == normalize_for_search(name.upper())


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("ガス", "カス"), ("パン", "ハン"), ("ハ\u309aン", "ハン"), ("か\u3099", "か"), ("ﾊﾟﾝ", "ﾊﾝ"), ("ばす", "はす"),
        ("мой", "мои"), ("и\u0306", "и"), ("їжа", "іжа"), ("ўсё", "усё"), ("ѓ", "г"), ("ќ", "к"),
        ("कि", "क"), ("क्त", "कत"), ("कु", "क"), ("ড়", "ড"), ("কে", "ক"), ("ಕೆ", "ಕ"), ("തി", "ത"),
        ("ผู้", "ผ"), ("น้ำ", "นำ"), ("ปู", "ปุ"), ("ປູ", "ປ"), ("ཀི", "ཀ"), ("ခု", "ခ"), ("ក្ក", "កក"), ("ދި", "ދ"),
        ("ال", "لا"), ("ש", "ס"), ("ο", "o"), ("а", "a"),
    ],
)  # fmt: skip
def test_different_letters_stay_different(name: str, other: str) -> None:
    assert normalize_for_search(name) != normalize_for_search(other)


@given(
    st.text(max_size=30)
    | st.text(st.sampled_from("iİıIеё\u0306\u0308\u0301\u3099か\u0338\u0345ßŁ\u200d\\＼ﾞ"), max_size=8)
)
@example("\u0345\u0301")
def test_normalizing_twice_changes_nothing(text: str) -> None:
    assert normalize_for_search(normalize_for_search(text)) == normalize_for_search(text)
    assert normalize_for_search(clean_name(text)) == normalize_for_search(normalize_for_search(clean_name(text)))


@pytest.mark.django_db
def test_files_folders_and_tags_are_searched_by_normalized_name(alice: User, as_alice: Client, roles: None) -> None:
    files = [factories.create_file(alice, name=name) for name in ("Łódź.txt", "ガス.txt", "מ.txt", "lo.txt", "lp.txt")]
    ensure_folder("Œuvres", alice)
    actions.tag_files([files[0].permanent_id], add=["ışık"], by=alice)
    actions.tag_files([files[0].permanent_id], add=["IŞIK", "カス", "ガス"], by=alice)
    assert [file.name for file in File.objects.matching("lodz")] == ["Łódź.txt"]
    assert not File.objects.matching("カス").exists()
    assert File.objects.matching("ガス").exists()
    assert "<mark>Œuvre</mark>s" in as_alice.get("/?q=oeuvre").content.decode()
    assert set(Tag.objects.values_list("name", flat=True)) == {"ışık", "カス", "ガス"}
    assert "Łódź.txt" in as_alice.get("/?tag=isik").content.decode()
    names = File.objects.order_by("normalized_name").values_list("name", flat=True)
    assert list(names)[:3] == ["lo.txt", "Łódź.txt", "lp.txt"]


@pytest.mark.parametrize(
    ("name", "search", "matches"),
    [
        ("Été à Łódź.PNG", "ete lodz png", ["Été", "Łódź", "PNG"]),
        ("cafe\u0301 Straße №2", "café strasse o2", ["cafe\u0301", "Straße", "№2"]),
        ("banana", "ana", ["anana"]),
        ("abcd", "abc bcd", ["abcd"]),
        ("<b>&amp;</b>", "<b> &", ["<b>&"]),
        ("שלום עולם", "עולם", ["עולם"]),
        ("report", "x", []),
        ("a.b", ".", ["."]),
    ],
)
def test_parts_that_a_search_matches_are_found_in_the_name(name: str, search: str, matches: list[str]) -> None:
    assert [name[start:end] for start, end in names.matched_ranges(name, search)] == matches


@given(st.text(max_size=30), st.text(max_size=6))
def test_matched_ranges_are_in_order_and_inside_the_name(name: str, search: str) -> None:
    edges = [edge for span in names.matched_ranges(name, search) for edge in span]
    assert edges == sorted(set(edges))
    assert all(0 <= edge <= len(name) for edge in edges)
