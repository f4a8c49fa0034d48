"""Spanish says everything that English says, and says it with the same blanks."""

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


def test_every_text_is_in_the_catalogue_and_nothing_else(entries: list[polib.POEntry]) -> None:
    """`make messages` brings it up to date."""
    assert {(entry.msgid, entry.msgid_plural or None) for entry in entries} == set(collect())


def test_every_text_is_translated(entries: list[polib.POEntry]) -> None:
    waiting = [entry.msgid for entry in entries if not all(translations(entry)) or entry.fuzzy]
    assert waiting == []


def test_every_translation_has_the_same_blanks(entries: list[polib.POEntry]) -> None:
    wrong = [
        entry.msgid
        for entry in entries
        for index, text in enumerate(translations(entry))
        if Counter(BLANK.findall(text)) != Counter(BLANK.findall(_source(entry, index)))
    ]
    assert wrong == []


def _source(entry: polib.POEntry, index: int) -> str:
    return str(entry.msgid_plural if entry.msgid_plural and index else entry.msgid)


def test_a_translation_ends_as_its_text_ends(entries: list[polib.POEntry]) -> None:
    """A full stop or a question mark that went missing, and spaces around a text that is put together."""
    wrong = [
        (entry.msgid, text)
        for entry in entries
        for text in translations(entry)
        if (text[-1:] in ".?:…" and text[-1:] != entry.msgid[-1:]) or text != text.strip()
    ]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language: str) -> None:
    written = {e.msgid_with_context: translations(e) for e in polib.pofile(str(catalogue(language)))}
    compiled = polib.mofile(str(catalogue(language).with_suffix(".mo")))
    assert {e.msgid_with_context: translations(e) for e in compiled} == written


@pytest.mark.django_db
def test_the_browser_or_the_person_chooses_the_language(as_alice: Client, alice: User) -> None:
    assert 'lang="es"' in as_alice.get("/", headers={"Accept-Language": "es-MX,es;q=0.9"}).text
    assert 'lang="en"' in as_alice.get("/", headers={"Accept-Language": "de"}).text
    as_alice.post("/i18n/setlang/", {"language": "es", "next": "/"})
    page = as_alice.get("/", headers={"Accept-Language": "en"}).text
    assert 'lang="es"' in page
    assert "Biblioteca" in page


def test_the_login_page_speaks_spanish_to_strangers(client: Client, db: None) -> None:
    assert "Contraseña" in client.get("/accounts/login/", headers={"Accept-Language": "es"}).text
