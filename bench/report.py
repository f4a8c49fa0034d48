"""Percentiles, and results: the same rows as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def percentile(ms: Sequence[float], share: float) -> float:
    """Return the response time, in milliseconds, that this share of the responses did not exceed; 0 without any."""
    return round(sorted(ms)[min(len(ms) - 1, int(share * len(ms)))], 1) if ms else 0.0


def save_results(name: str, rows: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> str:
    """Write `results/NAME.json` and `results/NAME.txt`; return the table as text."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    date = datetime.now(UTC).isoformat(timespec="seconds")
    text = "\n".join([f"{name}: {machine}, {date}", "", *_lines(rows), "", *notes]).rstrip() + "\n"
    RESULTS.mkdir(exist_ok=True)
    results = {"machine": machine, "date": date, "rows": list(rows), "notes": list(notes)}
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / f"{name}.txt").write_text(text)
    return text


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *[[_cell(row.get(column)) for column in columns] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
