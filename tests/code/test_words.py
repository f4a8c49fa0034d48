"""What people read is plain American English by one glossary. A failure names the place and what to write instead."""

from __future__ import annotations

import pytest

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
    found = banned_words([("docs/a.md", "Take out the strays.")])
    assert advice(found).startswith("docs/a.md: instead of “strays”, write: orphaned multipart upload")


def test_prose_has_no_code_of_a_markdown_text() -> None:
    markdown = "Mend `mend` [here](mend.md):\n\n```sh\nmend\n```\n"
    assert prose(markdown).split() == ["Mend", "[here]:"]
