"""docs/operate/capacity.md agrees with the results of the benchmarks."""

from __future__ import annotations

import pytest

from bench import capacity_page
from bench.capacity_page import caveat, page
from tests.conftest import PROJECT


def test_page_matches_the_results() -> None:
    assert (PROJECT / "docs" / "operate" / "capacity.md").read_text() == page(), "run make capacity-page"


def set_measurements(monkeypatch: pytest.MonkeyPatch, *, ratio: float, minutes: int, growth: float) -> None:
    rows = [{"case": f"{kind} alone", "ratio": ratio} for kind in ("redirect", "list")]
    values = {"minutes": str(minutes), "growth": str(growth)}
    monkeypatch.setattr(capacity_page, "load_results", lambda _name: {"rows": rows})
    monkeypatch.setattr(capacity_page, "web", lambda: values)


def test_caveat_names_a_short_run_and_missed_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    set_measurements(monkeypatch, ratio=4.5, minutes=1, growth=3.3)
    text = " ".join(caveat().split())
    assert "a short run here, 1 of 9 minutes of traffic" in text
    assert "a redirect at 4.5 times the minimal view instead of 3.3; memory growing by 3.3 MiB a minute" in text
    assert "a list" not in text


def test_whole_run_within_its_limits_has_no_caveat(monkeypatch: pytest.MonkeyPatch) -> None:
    set_measurements(monkeypatch, ratio=2.0, minutes=9, growth=0.1)
    assert caveat() == ""
