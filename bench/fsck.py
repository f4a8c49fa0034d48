"""Measure the commands that compare bucket and database, against the bare listing of the same bucket.

`make bench-fsck` runs all cases in turn, so that a change of the machine's speed affects all; medians count. Each run
is a whole process. `--keys`, `--few`, `--expired`, `--large` and `--small` choose smaller sizes, `--cases` the cases.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench import fsck_fixtures as fixtures
from bench.fsck_fixtures import PROJECT, manage
from bench.library import SHARED_BUFFERS, enlarge_cache
from bench.listing_server import served
from bench.report import save_results

MIB = 1024**2
LARGE_BYTES, SMALL_BYTES = 32 * MIB, 100 * 1024
SWEEPS = 4
RCLONE = str(Path(sys.executable).with_name("rclone"))
HUNDRED_MILLION = 100_000_000
PAGES_MINUTES = HUNDRED_MILLION / 1000 * 0.1 / 60

MAX_FSCK = 2.0  # times obstore's bare listing
MAX_MIB, MAX_GROWTH_MIB = 120, 10
MIN_IMPORTED, MIN_SWEPT = 20_000, 500  # per second
MIN_VERIFIED = 0.8  # of rclone's speed
MAX_MESSAGES = 500  # characters of a process's output


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """Seconds of wall and CPU time, and the largest resident set in MiB of one process."""

    wall_s: float
    cpu_s: float
    rss_mib: float
    status: int
    output: str


class Command(NamedTuple):
    """A command to measure. `units` is the number of keys, rows or bytes that a run handles."""

    case: str
    client: str
    units: int
    run: Callable[[], ProcessResult]
    warm_up: bool = True


def main() -> None:
    options = _options()
    enlarge_cache()
    fixtures.prepare()
    cases = {"listing": _listing, "import": _importing, "sweep": _sweeping, "verify": _verifying}
    rows = [row for name in options.cases.split(",") for row in cases[name](options)]
    print(save_results("fsck", rows, [*_verdicts(rows), *NOTES]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keys", type=int, default=1_000_000, help="listed, compared and imported")
    parser.add_argument("--few", type=int, default=100_000, help="compared as well, to see that memory does not grow")
    parser.add_argument("--expired", type=int, default=100_000, help="uploads that are swept")
    parser.add_argument("--large", type=int, default=64, help="files of 32 MiB that are read")
    parser.add_argument("--small", type=int, default=2000, help="files of 100 KiB that are read")
    parser.add_argument("--cases", default="listing,import,sweep,verify")
    return parser.parse_args()


def _listing(options: argparse.Namespace) -> list[dict[str, Any]]:
    few, many = fixtures.with_rows(options.few), fixtures.with_rows(options.keys)
    with (
        served("uploaded", options.few, fixtures.MARKER) as little,
        served("uploaded", options.keys, fixtures.MARKER) as large,
    ):
        env = fixtures.environment(many, large)
        remote = f"store:{env['AWS_STORAGE_BUCKET_NAME']}"
        bare = [sys.executable, "-m", "bench.fsck_baseline"]
        lsf = [RCLONE, "lsf", "-R", "--fast-list", f"{remote}/f"]
        case, fsck = f"{options.keys:,} keys", manage("fsck", "--json")
        return _run_in_turn(options.runs, [
            Command(case, "obstore, bare listing", options.keys, lambda: measure([*bare, "obstore", "f/"], env=env)),
            Command(case, "fsck", options.keys, lambda: measure(fsck, env=env)),
            Command(case, "rclone lsf -R --fast-list", options.keys, lambda: measure(lsf, env=env)),
            Command(case, "boto3, bare listing", options.keys, lambda: measure([*bare, "boto3", "f/"], env=env),
                warm_up=False),
            Command(f"{options.few:,} keys", "fsck", options.few,
                lambda: measure(fsck, env=fixtures.environment(few, little))),
        ])  # fmt: skip


def _importing(options: argparse.Namespace) -> list[dict[str, Any]]:
    arguments = manage("import_bucket", "photos/", "--owner", fixtures.OWNER, "--json", "--apply")

    def run() -> ProcessResult:
        name = fixtures.copy("bench_import")
        result = measure(arguments, env=fixtures.environment(name, address))
        _require(fixtures.rows_in(name) == options.keys, "not all keys were imported")
        return result

    with served("photos", options.keys, fixtures.MARKER) as address:
        command = Command(f"{options.keys:,} keys into an empty library", "import_bucket", options.keys, run)
        return _run_in_turn(options.runs, [command])


def _sweeping(options: argparse.Namespace) -> list[dict[str, Any]]:
    template = fixtures.with_expired(options.expired)

    def run() -> ProcessResult:
        name = fixtures.copy("bench_sweep", of=template)
        result = measure(*[manage("sweep", "--json")] * SWEEPS, env=fixtures.environment(name, address))
        _require(fixtures.rows_in(name) == 0, "uploads remain")
        return result

    with served("uploaded", options.expired, fixtures.MARKER) as address:
        command = Command(f"{options.expired:,} expired uploads", f"sweep, {SWEEPS} at once", options.expired, run)
        return _run_in_turn(options.runs, [command])


def _verifying(options: argparse.Namespace) -> list[dict[str, Any]]:
    with TemporaryDirectory() as folder:
        env = fixtures.environment(fixtures.EMPTY)
        with ProcessPoolExecutor(1) as pool:  # the peak of a child includes that of its parent, which must stay small
            bodies = pool.submit(fixtures.store, options.large, LARGE_BYTES, Path(folder), env).result()
            bodies += pool.submit(fixtures.store, options.small, SMALL_BYTES, Path(folder), env).result()
        size, env = sum(body.size for body in bodies), fixtures.environment(fixtures.with_bodies(bodies))
        remote = f"store:{env['AWS_STORAGE_BUCKET_NAME']}/f"
        check = [RCLONE, "check", "--download", "--one-command", remote, f"{folder}/f"]
        verify = manage("verify", "--all", "--json", "--parallel", "4")
        case = f"{len(bodies):,} files, {size // MIB:,} MiB"
        return _run_in_turn(options.runs, [
            Command(case, "rclone check --download", size, lambda: measure(check, env=env)),
            Command(case, "verify --all", size, lambda: measure(verify, env=env)),
        ])  # fmt: skip


def _run_in_turn(runs: int, commands: Sequence[Command]) -> list[dict[str, Any]]:
    """Run each command once to warm up, except the slowest, then all in turn."""
    results: dict[Command, list[ProcessResult]] = {command: [] for command in commands}
    for turn in range(-1, runs):
        for command in commands:
            if turn < 0 and not command.warm_up:
                continue
            result = command.run()
            _require(result.status == 0, f"{command.client} ended with {result.status}: {result.output}")
            print(f"{command.client}, {command.case}: {result.wall_s:.1f} s", file=sys.stderr, flush=True)
            if turn >= 0:
                results[command].append(result)
    return [_row(command, results[command]) for command in commands]


def _row(command: Command, results: Sequence[ProcessResult]) -> dict[str, Any]:
    walls = [result.wall_s for result in results]
    return {
        "case": command.case,
        "client": command.client,
        "wall_s": statistics.median(walls),
        "wall_min_s": min(walls),
        "wall_max_s": max(walls),
        "cpu_s": statistics.median(result.cpu_s for result in results),
        "rss_mib": round(max(result.rss_mib for result in results)),
        "units_per_second": round(command.units / statistics.median(walls)),
        "runs": len(results),
    }


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each limit of the cases that were measured."""
    by_client: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_client.setdefault(row["client"].split(",")[0], []).append(row)
    lines = []
    if "fsck" in by_client:
        many, few = by_client["fsck"]
        lines += _fsck_verdicts(many, few, by_client)
    if "import_bucket" in by_client:
        rate = by_client["import_bucket"][0]["units_per_second"]
        lines.append(f"import_bucket: {rate:,} keys per second (at least {MIN_IMPORTED:,})")
    if "sweep" in by_client:
        lines.append(f"sweep: {by_client['sweep'][0]['units_per_second']:,} uploads per second (at least {MIN_SWEPT})")
    if "verify --all" in by_client:
        ratio = by_client["rclone check --download"][0]["wall_s"] / by_client["verify --all"][0]["wall_s"]
        lines.append(f"verify: {ratio:.2f} times the speed of rclone check --download (at least {MIN_VERIFIED})")
    return lines


def _fsck_verdicts(many: dict[str, Any], few: dict[str, Any], by_client: dict[str, list[dict[str, Any]]]) -> list[str]:
    def times(client: str) -> float:
        return float(many["wall_s"] / by_client[client][0]["wall_s"])

    minutes, mib = HUNDRED_MILLION / many["units_per_second"] / 60, many["rss_mib"]
    return [
        f"fsck: {times('obstore'):.2f} times obstore's bare listing (at most {MAX_FSCK}), "
        f"{1 / times('boto3'):.1f} times as fast as boto3 lists, "
        f"{1 / times('rclone lsf -R --fast-list'):.1f} times as fast as rclone",
        f"fsck: {mib} MiB at its peak (at most {MAX_MIB}), {mib - few['rss_mib']:+} MiB against "
        f"{few['case']} (at most {MAX_GROWTH_MIB:+})",
        f"On paper: 100 million keys take {minutes:.0f} min in one process at this speed, or {minutes / 16:.1f} min in "
        f"16 processes with --prefix f/0 to f/f, if cores, storage and database allow it, of {mib} MiB each. With "
        f"100 ms for a page of a thousand keys: {PAGES_MINUTES:.0f} min, or {PAGES_MINUTES / 16:.0f} min in 16.",
    ]


def measure(*commands: Sequence[str], env: Mapping[str, str]) -> ProcessResult:
    """Run these at once until all have ended: wall time of all, CPU in sum, memory of the largest, the worst status."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        pids = [
            subprocess.Popen(command, stdout=output, stderr=output, cwd=PROJECT, env=env).pid for command in commands
        ]
        exits = [os.wait4(pid, 0) for pid in pids]
        wall_s = time.perf_counter() - started
        # only the end: the peak of a child includes that of its parent, which must stay small
        output.seek(max(0, output.tell() - MAX_MESSAGES))
        return ProcessResult(
            wall_s,
            sum(usage.ru_utime + usage.ru_stime for _pid, _status, usage in exits),
            max(usage.ru_maxrss for _pid, _status, usage in exits) / 1024,
            max(abs(os.waitstatus_to_exitcode(status)) for _pid, status, _usage in exits),
            output.read().decode(errors="replace"),
        )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(message)


NOTES = [
    "All results are of whole processes with the interpreter: wall time, CPU of user and system, the largest resident "
    "set of one process, or of the one that measures (45 MiB). "
    "units_per_second: keys, rows or bytes per second by the median.",
    "The bucket of the first cases is bench/listing_server.py, in a separate process; that of verify is the embedded "
    "storage over a folder, and rclone check compares it with a copy on disk.",
    "Rows are inserted with triggers on, then VACUUM ANALYZE; Postgres as embedded, but shared_buffers = "
    f"{SHARED_BUFFERS}. In the sweep every other upload has no object, every tenth is a multipart upload.",
]


if __name__ == "__main__":
    main()
