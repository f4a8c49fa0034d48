"""Write docs/operate/capacity.md from its template and the benchmark results: `python -m bench.capacity_page`."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill
from typing import Any

from bench.load import LONG, MAX_GROWTH_MIB_MINUTE, MAX_TIMES
from bench.report import RESULTS

DOCS = Path(__file__).resolve().parent.parent / "docs" / "operate"
BILLION, TERA, GIGA, MEGA = 10**9, 10**12, 10**9, 10**6
PLANNED = 0.7  # of a processor
PAUSE_SECONDS = 3  # between two requests of an active user
LIST_DB_MS = 3.0
WHOLE_MINUTES = round(sum(LONG.mixed.values()) / 60)  # of a run of `load` that is not a short one
RDS_BYTES_PER_CONNECTION = 9_531_392


def load_results(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return results


def row(name: str, case: str, **members: Any) -> dict[str, Any]:
    """Return the first row of this case with these members."""
    return next(
        item for item in load_results(name)["rows"]
        if item["case"].startswith(case) and all(item[key] == value for key, value in members.items())
    )  # fmt: skip


def page() -> str:
    template = (DOCS / "capacity.template.md").read_text()
    return template.format(caveat=caveat(), **web(), **files(), **bulk_operations(), **database())


def web() -> dict[str, str]:
    minimal, redirect, listed = (row("load", f"{kind} alone") for kind in ("minimal", "redirect", "list"))
    mixed, over = row("load", "mixed", users=50), row("load", "mixed, past")
    # at ten users no process is replaced, so that none of their CPU time is lost
    mixed_cpu = row("load", "mixed", users=10)["web_cpu_ms"]
    machine = load_results("load")["machine"]
    memory = next(note for note in load_results("load")["notes"] if note.startswith("memory"))
    words = memory.replace(",", "").replace(":", "").split()
    per_cpu = 1000 / mixed_cpu
    return {
        "machine": machine, "cores": machine.split(" cores")[0].split()[-1],
        "minimal_cpu": f"{minimal['web_cpu_ms']:.2f}", "minimal_rate": f"{minimal['per_second']:,.0f}",
        "redirect_cpu": f"{redirect['web_cpu_ms']:.2f}", "redirect_rate": f"{redirect['per_second']:,.0f}",
        "redirect_times": f"{redirect['ratio']:.1f}", "list_times": f"{listed['ratio']:.1f}",
        "list_cpu": f"{listed['web_cpu_ms']:.2f}", "list_rate": f"{listed['per_second']:,.0f}",
        "mixed_cpu": f"{mixed_cpu:.1f}", "mixed_rate": f"{mixed['per_second']:,.0f}",
        "mixed_p95": f"{mixed['p95_ms']:,.0f}", "per_cpu": f"{per_cpu:.0f}", "planned": f"{PLANNED * per_cpu:.0f}",
        "people": f"{PLANNED * per_cpu * PAUSE_SECONDS:.0f}", "overload_people": f"{over['users']:,}",
        "overload_rate": f"{over['per_second']:,.0f}", "overload_away": f"{over['rejected']:,}",
        "minutes": words[words.index("minutes") - 1], "memory": words[words.index("MiB") - 1],
        "growth": words[words.index("by") + 1],
    }  # fmt: skip


def caveat() -> str:
    """Return a warning if `load` was a short run, or missed its limits; otherwise an empty text."""
    values = web()
    missed = [
        f"a {kind} at {result['ratio']:.1f} times the minimal view instead of {limit:g}"
        for kind, limit in MAX_TIMES.items()
        if (result := row("load", f"{kind} alone"))["ratio"] > limit
    ]
    if float(values["growth"]) > MAX_GROWTH_MIB_MINUTE:
        missed.append(f"memory growing by {values['growth']} MiB a minute instead of {MAX_GROWTH_MIB_MINUTE:g}")
    short = int(values["minutes"]) < WHOLE_MINUTES
    first = f"`load` was a short run here, {values['minutes']} of {WHOLE_MINUTES} minutes of traffic. " if short else ""
    second = f"It missed its own limits: {'; '.join(missed)}. " if missed else ""
    warning = f"**{first}{second}Measure again before you rely on the estimates.**"
    return f"\n{fill(warning, 125, break_on_hyphens=False)}\n" if first or second else ""


def files() -> dict[str, str]:
    small, large = (
        row("upload", "1000 files", client="page in Chromium"),
        row("upload", "1 file", client="page in Chromium"),
    )
    zipped = row("zip", "", client="zip")
    gib = zipped["web_cpu_s"] * 1000 / (zipped["mib_per_second"] * zipped["wall_s"] / 1024)
    return {
        "file_cpu": f"{small['web_cpu_ms_per_file']:.1f}", "large_cpu": f"{large['web_cpu_s'] * 1000:.0f}",
        "zip_cpu": f"{gib:,.0f}", "zip_growth": f"{zipped['web_growth_mib']:.1f}",
        "burst_cpu": f"{10 * small['web_cpu_ms_per_file']:.0f}",
        "burst_tasks": f"{10 * small['web_cpu_ms_per_file'] / PLANNED:.0f}",
    }  # fmt: skip


def bulk_operations() -> dict[str, str]:
    compared, sweep = row("fsck", "1,000,000 keys", client="fsck"), row("fsck", "100,000 expired")
    import_, verified = row("fsck", "1,000,000 keys into"), row("fsck", "2,064", client="verify --all")
    hours = BILLION / compared["units_per_second"] / 3600
    lists = [item["ratio"] for item in load_results("library")["rows"] if item["kind"] == "list"]
    return {
        "fsck_rate": f"{compared['units_per_second']:,.0f}", "fsck_mib": f"{compared['rss_mib']}",
        "sweep_rate": f"{sweep['units_per_second']:,.0f}", "import_rate": f"{import_['units_per_second']:,.0f}",
        "fsck_hours": f"{hours:.1f} hours", "fsck_sixteen": f"{hours * 60 / 16:.0f} minutes",
        "billion_import": f"{BILLION / import_['units_per_second'] / 3600:.0f}",
        "verify_mb": f"{verified['units_per_second'] / MEGA:.0f}",
        "verify_processes": f"{-(-386 * MEGA // int(verified['units_per_second']))}",
        "library_ratio": f"{max(lists):.2f}", "large_files": "ten million",
    }  # fmt: skip


def database() -> dict[str, str]:
    files_table, events = row("scale", "uploads_file"), row("scale", "uploads_event")
    size, heap = files_table["bytes_per_file"], files_table["bytes_per_file"] - files_table["index_bytes_per_file"]
    event = events["bytes_per_file"] * files_table["rows"] / events["rows"]
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
        "rds_connections": f"{4 * 2**30 // RDS_BYTES_PER_CONNECTION:,}",
    }  # fmt: skip


if __name__ == "__main__":
    (DOCS / "capacity.md").write_text(page())
