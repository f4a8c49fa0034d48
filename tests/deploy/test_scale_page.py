"""docs/operate/capacity.md says what the benches found."""

from __future__ import annotations

import pytest

from bench import scale_page
from bench.scale_page import caveat, page
from tests.conftest import PROJECT


def test_the_page_is_the_one_of_these_results() -> None:
    assert (PROJECT / "docs" / "operate" / "capacity.md").read_text() == page(), "make scale-page writes it anew"


def measured(monkeypatch: pytest.MonkeyPatch, *, times: float, minutes: int, growth: float) -> None:
    rows = [{"case": f"{kind} alone", "times": times} for kind in ("redirect", "list")]
    note = {"minutes": str(minutes), "growth": str(growth)}
    monkeypatch.setattr(scale_page, "found", lambda _name: {"rows": rows})
    monkeypatch.setattr(scale_page, "web", lambda: note)


def test_a_short_run_that_missed_its_bars_is_told_of_at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, times=4.5, minutes=1, growth=3.3)
    told = " ".join(caveat().split())
    assert "a short run here, 1 of 9 minutes of traffic" in told
    assert "a redirect at 4.5 times the minimal view instead of 3.3; memory growing by 3.3 MiB a minute" in told
    assert "a list" not in told


def test_a_whole_run_that_held_its_bars_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, times=2.0, minutes=9, growth=0.1)
    assert caveat() == ""
