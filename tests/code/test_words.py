"""What people read is plain American English by one glossary. A failure names the place and what to write instead."""

from __future__ import annotations

import re

import pytest

from tests.support.messages import PROJECT, collect
from tests.support.words import BANNED, BANNED_ON_PAGES, advice, banned_words, prose


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Whoever has to wait gets 429.", {"Whoever", "has to wait"}),
        ("An upload goes on when the file is dropped again.", {"goes on"}),
        ("Go on to the next step.", set()),
        ("Your second factor", {"second factor"}),
        ("Report the bytes in the store.", set()),
        ("Behind a load balancer. Behind the balancer.", {"balancer"}),
    ],
)
def test_banned_words_are_found_as_whole_words(text: str, words: set[str]) -> None:
    assert {word for _, word, _ in banned_words([("here", text)])} == words


def test_operators_words_are_banned_on_pages_alone() -> None:
    texts = [("templates/page.html", "The bytes are not in the store.")]
    assert list(banned_words(texts, BANNED)) == []
    assert {word for _, word, _ in banned_words(texts, BANNED_ON_PAGES)} == {"bytes", "the store"}


def test_a_pattern_can_be_allowed_for_some_texts() -> None:
    texts = [("uploads/commands.py", "Mend the rows.")]
    assert {word for _, word, _ in banned_words(texts)} == {"Mend"}
    assert list(banned_words(texts, allowed=frozenset({r"mend(?:s|ed|ing)?"}))) == []


def test_advice_names_the_place_and_the_replacement() -> None:
    matches = banned_words([("docs/a.md", "Take out the strays.")])
    assert advice(matches).startswith("docs/a.md: instead of “strays”, write: orphaned multipart upload")


def test_prose_has_no_code_of_a_markdown_text() -> None:
    markdown = "Mend `mend` [here](mend.md):\n\n```sh\nmend\n```\n"
    assert prose(markdown).split() == ["Mend", "[here]:"]


# Texts for operators and API clients, which may use technical terms.
OPERATORS = (
    "amalga/",
    "templates/admin/",
    "uploads/admin/",
    "uploads/api/",
    "uploads/models/",
    "uploads/services/fsck/",
)
EXACT_SIZE = "%(number)s bytes"  # a tooltip
PLACEHOLDER = re.compile(r"%\(\w+\)s|{\w+}")
TRANSLATED = re.compile(r"{% translate .*?%}|{% blocktranslate.*?{% endblocktranslate %}", re.DOTALL)
MARKUP = re.compile(
    r"{#.*?#}|{% comment %}.*?{% endcomment %}|<style.*?</style>|<code.*?</code>"
    r"|{% block (bodyclass|\w+_attributes).*?{% endblock \1 %}"
    r"|{%.*?%}|{{.*?}}|<[^>]*>",
    re.DOTALL,
)


def messages() -> list[tuple[str, str]]:
    """Return each text of the pages, with the files that contain it."""
    return [
        (", ".join(sorted(places)), PLACEHOLDER.sub("…", text))
        for texts, places in collect().items()
        for text in texts
        if text is not None and text != EXACT_SIZE
    ]


def test_messages_are_plain_english() -> None:
    assert len(messages()) > 700
    wrong = list(banned_words(messages(), BANNED))
    assert not wrong, advice(wrong)


def test_messages_for_people_do_not_use_operators_words() -> None:
    texts = [
        (places, text)
        for places, text in messages()
        if not all(place.startswith(OPERATORS) for place in places.split(", "))
    ]
    assert len(texts) > 500
    wrong = list(banned_words(texts, BANNED_ON_PAGES))
    assert not wrong, advice(wrong)


def test_templates_have_no_other_text_than_messages() -> None:
    """A text that is not marked is neither translated nor checked here."""
    texts = {
        str(path.relative_to(PROJECT)): MARKUP.sub(" ", TRANSLATED.sub(" ", path.read_text()))
        for path in (PROJECT / "templates").rglob("*.html")
    }
    words = {path: re.findall(r"[A-Za-z]{3,}", re.sub(r"&\w+;", " ", text)) for path, text in texts.items()}
    assert {path: text for path, text in words.items() if set(text) - {"Amalga", "Esc"}} == {}


def test_messages_are_in_sentence_case() -> None:
    titles = re.compile(r"(?:[A-Z][a-z]+ ){2,}[A-Z][a-z]+$")
    assert [text for _, text in messages() if titles.match(text)] == []
