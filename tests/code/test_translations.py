"""Spanish has a translation of every English text, with the same placeholders."""

from __future__ import annotations

import re
from collections import Counter

import polib
import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.messages import LANGUAGES, catalogue, collect

BLANK = re.compile(r"%\(\w+\)[sd]|\{\w*\}|%%")


@pytest.fixture(params=LANGUAGES)
def entries(request: pytest.FixtureRequest) -> list[polib.POEntry]:
    return list(polib.pofile(str(catalogue(request.param))))


def translations(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def test_catalog_has_exactly_the_texts_of_the_app(entries: list[polib.POEntry]) -> None:
    """`make messages` brings it up to date."""
    assert {(entry.msgid, entry.msgid_plural or None) for entry in entries} == set(collect())


def test_every_text_is_translated(entries: list[polib.POEntry]) -> None:
    waiting = [entry.msgid for entry in entries if not all(translations(entry)) or entry.fuzzy]
    assert waiting == []


def test_every_translation_has_the_same_placeholders(entries: list[polib.POEntry]) -> None:
    wrong = [
        entry.msgid
        for entry in entries
        for index, text in enumerate(translations(entry))
        if Counter(BLANK.findall(text)) != Counter(BLANK.findall(_source(entry, index)))
    ]
    assert wrong == []


def _source(entry: polib.POEntry, index: int) -> str:
    return str(entry.msgid_plural if entry.msgid_plural and index else entry.msgid)


def test_translation_ends_like_its_text(entries: list[polib.POEntry]) -> None:
    """No missing period or question mark at the end, and no spaces around the text."""
    wrong = [
        (entry.msgid, text)
        for entry in entries
        for text in translations(entry)
        if (text[-1:] in ".?:…" and text[-1:] != entry.msgid[-1:]) or text != text.strip()
    ]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_compiled_catalog_is_current(language: str) -> None:
    written = {e.msgid_with_context: translations(e) for e in polib.pofile(str(catalogue(language)))}
    compiled = polib.mofile(str(catalogue(language).with_suffix(".mo")))
    assert {e.msgid_with_context: translations(e) for e in compiled} == written


@pytest.mark.django_db
def test_language_comes_from_the_user_or_the_browser(as_alice: Client, alice: User) -> None:
    assert 'lang="es"' in as_alice.get("/", headers={"Accept-Language": "es-MX,es;q=0.9"}).text
    assert 'lang="en"' in as_alice.get("/", headers={"Accept-Language": "de"}).text
    as_alice.post("/i18n/setlang/", {"language": "es", "next": "/"})
    page = as_alice.get("/", headers={"Accept-Language": "en"}).text
    assert 'lang="es"' in page
    assert "Biblioteca" in page


def test_sign_in_page_is_translated_for_anonymous_users(client: Client, db: None) -> None:
    assert "Contraseña" in client.get("/accounts/login/", headers={"Accept-Language": "es"}).text
