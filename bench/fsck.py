"""What it costs to keep bucket and database in agreement: the commands, against the bare listing of the same bucket.

`make bench-fsck` runs every case in turn, so that a change of the machine's speed meets all; medians count. Each is a
whole process. `--keys`, `--few`, `--expired`, `--large` and `--small` make smaller trials, `--cases` chooses.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench import fsck_stage as stage
from bench.fsck_process import Taken, manage, measured
from bench.library import SHARED_BUFFERS, enlarge_cache
from bench.listing_server import served
from bench.table import keep

MIB = 1024**2
LARGE_BYTES, SMALL_BYTES = 32 * MIB, 100 * 1024
SWEEPS = 4
RCLONE = str(Path(sys.executable).with_name("rclone"))
HUNDRED_MILLION = 100_000_000
PAGES_MINUTES = HUNDRED_MILLION / 1000 * 0.1 / 60

MAX_FSCK = 2.0  # times obstore's bare listing
MAX_MIB, MAX_GROWTH_MIB = 120, 10
LEAST_IMPORTED, LEAST_SWEPT = 20_000, 500  # a second
LEAST_VERIFIED = 0.8  # of rclone's speed


class Way(NamedTuple):
    """One way to do a case: run it once. `units` is how many keys, rows or bytes that is."""

    case: str
    who: str
    units: int
    run: Callable[[], Taken]
    warm_up: bool = True


def main() -> None:
    options = _options()
    enlarge_cache()
    stage.prepare()
    cases = {"listing": _listing, "import": _importing, "sweep": _sweeping, "verify": _verifying}
    rows = [row for name in options.cases.split(",") for row in cases[name](options)]
    print(keep("fsck", rows, [*_verdicts(rows), *NOTES]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keys", type=int, default=1_000_000, help="listed, compared and imported")
    parser.add_argument("--few", type=int, default=100_000, help="compared as well, to see what does not grow")
    parser.add_argument("--expired", type=int, default=100_000, help="uploads that are swept")
    parser.add_argument("--large", type=int, default=64, help="files of 32 MiB that are read")
    parser.add_argument("--small", type=int, default=2000, help="files of 100 KiB that are read")
    parser.add_argument("--cases", default="listing,import,sweep,verify")
    return parser.parse_args()


def _listing(options: argparse.Namespace) -> list[dict[str, Any]]:
    few, many = stage.with_rows(options.few), stage.with_rows(options.keys)
    with (
        served("uploaded", options.few, stage.MARKER) as little,
        served("uploaded", options.keys, stage.MARKER) as large,
    ):
        env = stage.environment(many, large)
        remote = f"store:{env['AWS_STORAGE_BUCKET_NAME']}"
        bare = [sys.executable, "-m", "bench.fsck_bare"]
        lsf = [RCLONE, "lsf", "-R", "--fast-list", f"{remote}/f"]
        case, fsck = f"{options.keys:,} keys", manage("fsck", "--json")
        return _measure(options.runs, [
            Way(case, "obstore, bare listing", options.keys, lambda: measured([*bare, "obstore", "f/"], env=env)),
            Way(case, "fsck", options.keys, lambda: measured(fsck, env=env)),
            Way(case, "rclone lsf -R --fast-list", options.keys, lambda: measured(lsf, env=env)),
            Way(case, "boto3, bare listing", options.keys, lambda: measured([*bare, "boto3", "f/"], env=env),
                warm_up=False),
            Way(f"{options.few:,} keys", "fsck", options.few,
                lambda: measured(fsck, env=stage.environment(few, little))),
        ])  # fmt: skip


def _importing(options: argparse.Namespace) -> list[dict[str, Any]]:
    command = manage("import_bucket", "photos/", "--owner", stage.OWNER, "--json", "--apply")

    def run() -> Taken:
        name = stage.copy("bench_import")
        taken = measured(command, env=stage.environment(name, address))
        _require(stage.rows_in(name) == options.keys, "not every key was imported")
        return taken

    with served("photos", options.keys, stage.MARKER) as address:
        way = Way(f"{options.keys:,} keys into an empty library", "import_bucket", options.keys, run)
        return _measure(options.runs, [way])


def _sweeping(options: argparse.Namespace) -> list[dict[str, Any]]:
    template = stage.with_expired(options.expired)

    def run() -> Taken:
        name = stage.copy("bench_sweep", of=template)
        taken = measured(*[manage("sweep", "--json")] * SWEEPS, env=stage.environment(name, address))
        _require(stage.rows_in(name) == 0, "uploads are left")
        return taken

    with served("uploaded", options.expired, stage.MARKER) as address:
        way = Way(f"{options.expired:,} expired uploads", f"sweep, {SWEEPS} at once", options.expired, run)
        return _measure(options.runs, [way])


def _verifying(options: argparse.Namespace) -> list[dict[str, Any]]:
    with TemporaryDirectory() as folder:
        env = stage.environment(stage.EMPTY)
        with ProcessPoolExecutor(1) as pool:  # a child's peak counts from that of its parent: this one stays small
            bodies = pool.submit(stage.store, options.large, LARGE_BYTES, Path(folder), env).result()
            bodies += pool.submit(stage.store, options.small, SMALL_BYTES, Path(folder), env).result()
        size, env = sum(body.size for body in bodies), stage.environment(stage.with_bodies(bodies))
        remote = f"store:{env['AWS_STORAGE_BUCKET_NAME']}/f"
        check = [RCLONE, "check", "--download", "--one-way", remote, f"{folder}/f"]
        verify = manage("verify", "--all", "--json", "--parallel", "4")
        case = f"{len(bodies):,} files, {size // MIB:,} MiB"
        return _measure(options.runs, [
            Way(case, "rclone check --download", size, lambda: measured(check, env=env)),
            Way(case, "verify --all", size, lambda: measured(verify, env=env)),
        ])  # fmt: skip


def _measure(runs: int, ways: Sequence[Way]) -> list[dict[str, Any]]:
    """Each once without counting, save the slowest, then in turn."""
    taken: dict[Way, list[Taken]] = {way: [] for way in ways}
    for turn in range(-1, runs):
        for way in ways:
            if turn < 0 and not way.warm_up:
                continue
            done = way.run()
            _require(done.status == 0, f"{way.who} ended with {done.status}: {done.said}")
            print(f"{way.who}, {way.case}: {done.wall_s:.1f} s", file=sys.stderr, flush=True)
            if turn >= 0:
                taken[way].append(done)
    return [_row(way, taken[way]) for way in ways]


def _row(way: Way, taken: Sequence[Taken]) -> dict[str, Any]:
    walls = [one.wall_s for one in taken]
    return {
        "case": way.case,
        "who": way.who,
        "wall_s": statistics.median(walls),
        "wall_min_s": min(walls),
        "wall_max_s": max(walls),
        "cpu_s": statistics.median(one.cpu_s for one in taken),
        "rss_mib": round(max(one.rss_mib for one in taken)),
        "units_s": round(way.units / statistics.median(walls)),
        "runs": len(taken),
    }


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The bars, and how far each is met; only for what was measured."""
    by_who: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_who.setdefault(row["who"].split(",")[0], []).append(row)
    lines = []
    if "fsck" in by_who:
        many, few = by_who["fsck"]
        lines += _of_fsck(many, few, by_who)
    if "import_bucket" in by_who:
        lines.append(
            f"import_bucket: {by_who['import_bucket'][0]['units_s']:,} keys a second (at least {LEAST_IMPORTED:,})"
        )
    if "sweep" in by_who:
        lines.append(f"sweep: {by_who['sweep'][0]['units_s']:,} uploads a second (at least {LEAST_SWEPT})")
    if "verify --all" in by_who:
        ratio = by_who["rclone check --download"][0]["wall_s"] / by_who["verify --all"][0]["wall_s"]
        lines.append(f"verify: {ratio:.2f} times the speed of rclone check --download (at least {LEAST_VERIFIED})")
    return lines


def _of_fsck(many: dict[str, Any], few: dict[str, Any], by_who: dict[str, list[dict[str, Any]]]) -> list[str]:
    def times(who: str) -> float:
        return float(many["wall_s"] / by_who[who][0]["wall_s"])

    minutes, mib = HUNDRED_MILLION / many["units_s"] / 60, many["rss_mib"]
    return [
        f"fsck: {times('obstore'):.2f} times obstore's bare listing (at most {MAX_FSCK}), "
        f"{1 / times('boto3'):.1f} times as fast as boto3 lists, "
        f"{1 / times('rclone lsf -R --fast-list'):.1f} times as fast as rclone",
        f"fsck: {mib} MiB at its peak (at most {MAX_MIB}), {mib - few['rss_mib']:+} MiB against "
        f"{few['case']} (at most {MAX_GROWTH_MIB:+})",
        f"On paper: 100 million keys take {minutes:.0f} min in one process at this speed, or {minutes / 16:.1f} min in "
        f"16 processes with --prefix f/0 to f/f, if cores, store and database give that, of {mib} MiB each. A store "
        f"that takes 100 ms for a page of a thousand: {PAGES_MINUTES:.0f} min, or {PAGES_MINUTES / 16:.0f} min in 16.",
    ]


def _require(right: bool, told: str) -> None:
    if not right:
        raise RuntimeError(told)


NOTES = [
    "Every figure is of whole processes, interpreter and all: wall time, CPU of user and system, the largest resident "
    "set of one process, or of the one that measures (45 MiB). units_s: keys, rows or bytes a second by the median.",
    "The bucket of the first cases is bench/listing_server.py, in a process of its own; that of verify is the embedded "
    "store over a folder, and rclone check holds it against a copy on the disk.",
    "Rows are planted with triggers on, then VACUUM ANALYZE; Postgres as embedded, but shared_buffers = "
    f"{SHARED_BUFFERS}. In the sweep every other upload has no object, every tenth was begun in parts.",
]


if __name__ == "__main__":
    main()
