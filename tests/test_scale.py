"""docs/scale.md says what the benches found."""

from __future__ import annotations

from bench.scale_page import page
from tests.conftest import PROJECT


def test_the_page_is_the_one_of_these_results() -> None:
    assert (PROJECT / "docs" / "scale.md").read_text() == page(), "make scale-page writes it anew"
