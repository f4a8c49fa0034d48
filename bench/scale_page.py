"""docs/operate/capacity.md from its template and what the benches found: `python -m bench.scale_page`."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill
from typing import Any

from bench.load import LONG, MAX_GROWTH_MIB_MINUTE, MAX_TIMES
from bench.table import RESULTS

DOCS = Path(__file__).resolve().parent.parent / "docs" / "operate"
BILLION, TERA, GIGA, MEGA = 10**9, 10**12, 10**9, 10**6
PLANNED = 0.7  # of a processor
PAUSE_SECONDS = 3  # between two requests of somebody at work
LIST_DB_MS = 3.0
WHOLE_MINUTES = round(sum(LONG.mixed.values()) / 60)  # of a run of `load` that is no short one
RDS_BYTES_A_CONNECTION = 9_531_392


def found(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return told


def row(name: str, case: str, **more: Any) -> dict[str, Any]:
    """The first row of this case, as it was measured."""
    return next(
        one for one in found(name)["rows"]
        if one["case"].startswith(case) and all(one[key] == value for key, value in more.items())
    )  # fmt: skip


def page() -> str:
    template = (DOCS / "capacity.template.md").read_text()
    return template.format(caveat=caveat(), **web(), **files(), **kept(), **reckoned())


def web() -> dict[str, str]:
    minimal, redirect, listed = (row("load", f"{kind} alone") for kind in ("minimal", "redirect", "list"))
    mixed, over = row("load", "mixed", users=50), row("load", "mixed, past")
    # in the short while of ten people no process is replaced
    mixed_cpu = row("load", "mixed", users=10)["web_cpu_ms"]
    memory = next(note for note in found("load")["notes"] if note.startswith("memory"))
    words = memory.replace(",", "").replace(":", "").split()
    per_cpu = 1000 / mixed_cpu
    return {
        "machine": found("load")["machine"], "cores": found("load")["machine"].split(" cores")[0].split()[-1],
        "minimal_cpu": f"{minimal['web_cpu_ms']:.2f}", "minimal_rate": f"{minimal['a_second']:,.0f}",
        "redirect_cpu": f"{redirect['web_cpu_ms']:.2f}", "redirect_rate": f"{redirect['a_second']:,.0f}",
        "redirect_times": f"{redirect['times']:.1f}", "list_times": f"{listed['times']:.1f}",
        "list_cpu": f"{listed['web_cpu_ms']:.2f}", "list_rate": f"{listed['a_second']:,.0f}",
        "mixed_cpu": f"{mixed_cpu:.1f}", "mixed_rate": f"{mixed['a_second']:,.0f}",
        "mixed_p95": f"{mixed['p95_ms']:,.0f}", "per_cpu": f"{per_cpu:.0f}", "planned": f"{PLANNED * per_cpu:.0f}",
        "people": f"{PLANNED * per_cpu * PAUSE_SECONDS:.0f}", "overload_people": f"{over['users']:,}",
        "overload_rate": f"{over['a_second']:,.0f}", "overload_away": f"{over['turned_away']:,}",
        "minutes": words[words.index("minutes") - 1], "memory": words[words.index("MiB") - 1],
        "growth": words[words.index("by") + 1],
    }  # fmt: skip


def caveat() -> str:
    """What `load` was not long enough for, and where it missed what it asks of itself."""
    told = web()
    missed = [
        f"a {kind} at {one['times']:.1f} times the minimal view instead of {most:g}"
        for kind, most in MAX_TIMES.items()
        if (one := row("load", f"{kind} alone"))["times"] > most
    ]
    if float(told["growth"]) > MAX_GROWTH_MIB_MINUTE:
        missed.append(f"memory growing by {told['growth']} MiB a minute instead of {MAX_GROWTH_MIB_MINUTE:g}")
    short = int(told["minutes"]) < WHOLE_MINUTES
    first = f"`load` was a short run here, {told['minutes']} of {WHOLE_MINUTES} minutes of traffic. " if short else ""
    second = f"It missed its own limits: {'; '.join(missed)}. " if missed else ""
    whole = f"**{first}{second}Measure again before you rely on the estimates.**"
    return f"\n{fill(whole, 125, break_on_hyphens=False)}\n" if first or second else ""


def files() -> dict[str, str]:
    small, large = row("upload", "1000 files", who="page in Chromium"), row("upload", "1 file", who="page in Chromium")
    zipped = row("zip", "", who="zip")
    gib = zipped["web_cpu_s"] * 1000 / (zipped["mib_s"] * zipped["wall_s"] / 1024)
    return {
        "file_cpu": f"{small['web_cpu_ms_per_file']:.1f}", "large_cpu": f"{large['web_cpu_s'] * 1000:.0f}",
        "zip_cpu": f"{gib:,.0f}", "zip_growth": f"{zipped['web_growth_mib']:.1f}",
        "burst_cpu": f"{10 * small['web_cpu_ms_per_file']:.0f}",
        "burst_tasks": f"{10 * small['web_cpu_ms_per_file'] / PLANNED:.0f}",
    }  # fmt: skip


def kept() -> dict[str, str]:
    compared, swept = row("fsck", "1,000,000 keys", who="fsck"), row("fsck", "100,000 expired")
    imported, verified = row("fsck", "1,000,000 keys into"), row("fsck", "2,064", who="verify --all")
    hours = BILLION / compared["units_s"] / 3600
    lists = [one["ratio"] for one in found("library")["rows"] if one["kind"] == "list"]
    return {
        "fsck_rate": f"{compared['units_s']:,.0f}", "fsck_mib": f"{compared['rss_mib']}",
        "sweep_rate": f"{swept['units_s']:,.0f}", "import_rate": f"{imported['units_s']:,.0f}",
        "fsck_hours": f"{hours:.1f} hours", "fsck_sixteen": f"{hours * 60 / 16:.0f} minutes",
        "billion_import": f"{BILLION / imported['units_s'] / 3600:.0f}",
        "verify_mb": f"{verified['units_s'] / MEGA:.0f}",
        "verify_processes": f"{-(-386 * MEGA // int(verified['units_s']))}",
        "library_ratio": f"{max(lists):.2f}", "large_files": "ten million",
    }  # fmt: skip


def reckoned() -> dict[str, str]:
    stored, noted = row("scale", "uploads_file"), row("scale", "uploads_event")
    size, heap = stored["bytes_a_file"], stored["bytes_a_file"] - stored["of_it_indexes"]
    event = noted["bytes_a_file"] * stored["rows"] / noted["rows"]
    many = row("scale", "upload, 100")
    return {
        "file_bytes": f"{size:,.0f}", "file_heap": f"{heap:,.0f}", "event_bytes": f"{event:,.0f}",
        "wal_bytes": f"{many['wal_bytes']:,.0f}", "db_ms": f"{many['ms']:.1f}",
        "billion_files": f"{BILLION * size / TERA:.1f}", "billion_events": f"{3 * BILLION * event / TERA:.1f}",
        "billion_memory": f"{BILLION * size * 0.6 / 20 / GIGA:.0f}",
        "files_by_table": f"{32 * 2**40 / heap / BILLION:.0f}",
        "uploads_per_core": f"{1000 / many['ms']:.0f}", "person_rate": f"{1000 / many['ms']:.0f}",
        "uploads_by_wal": f"{125 * MEGA / many['wal_bytes']:,.0f}",
        "burst_db": f"{10 * many['ms']:.0f}", "burst_wal": f"{10_000 * many['wal_bytes'] / MEGA:.0f}",
        "one_writer": f"{16 * PLANNED * 1000 / many['ms']:,.0f}",
        "lists_per_db": f"{1000 / LIST_DB_MS:.0f}",
        "rds_connections": f"{4 * 2**30 // RDS_BYTES_A_CONNECTION:,}",
    }  # fmt: skip


if __name__ == "__main__":
    (DOCS / "capacity.md").write_text(page())
