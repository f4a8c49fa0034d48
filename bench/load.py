"""Measure the traffic of a team, and overload.

`make bench-load` starts gunicorn with two processes behind the shipped nginx, over the embedded Postgres and S3, all on
this machine, and sends requests from another process, each user from a separate address: first to a minimal Django view
with one query, the redirect of a download and a list, in turn, so that a change of the machine's speed affects all
three; then to lists, file pages, redirects and uploads, mixed, by 1, 10, 50 and 200 users who never pause; then by many
more, who retry after 503 as its Retry-After says. Memory is sampled for long enough that this takes eleven minutes;
`--short` takes two.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amalga.local.processes import free_port
from bench.load_fixtures import create_fixtures
from bench.load_users import BODY
from bench.report import percentile, save_results
from bench.web import Web
from tests.support.reverse_proxies import Behind, nginx_in_container

PROCESSES = "2"
MIX = {"list": 30, "page": 20, "redirect": 40, "upload": 10}
CONCURRENCY = 8  # users in the comparison: more than the processors, so that each server is busy
ROUNDS = 3
MAX_TIMES = {"redirect": 3.3}
MAX_LIST_CPU_MS = 13
OVERLOAD = 1500
MIN_SATURATION_RATIO = 0.8
SAMPLE_SECONDS = 5
MAX_GROWTH_MIB_MINUTE = 0.2


@dataclass(frozen=True)
class Plan:
    """Seconds of each part."""

    compared: float
    mixed: dict[int, float]
    overload: float


LONG = Plan(compared=8, mixed={1: 30, 10: 60, 200: 60, 50: 390}, overload=60)
SHORT = Plan(compared=3, mixed={1: 8, 10: 10, 200: 10, 50: 20}, overload=8)


@dataclass
class Run:
    """Statistics of the requests by kind, with CPU and memory of the server at that time."""

    seconds: float
    cpu_s: float
    stats: dict[str, dict[str, Any]]
    memory: list[tuple[float, int]] = field(default_factory=list)

    @property
    def ms(self) -> list[float]:
        return [ms for stats in self.stats.values() for ms in stats["ms"]]

    @property
    def statuses(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for stats in self.stats.values():
            total.update(stats["statuses"])
        return total

    def percentile(self, share: float) -> float:
        return percentile(self.ms, share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    plan = SHORT if options.short else LONG
    fixtures = create_fixtures()
    fixtures["sha256"] = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    variables = {"WEB_CONCURRENCY": PROCESSES}
    minimal_settings = {"DJANGO_SETTINGS_MODULE": "bench.minimal"}
    django = "django.core.wsgi:get_wsgi_application()"  # without what amalga.wsgi puts in front
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        web = behind_nginx(stack, log=log, **variables)
        minimal = behind_nginx(stack, log=log, application=django, **variables, **minimal_settings)
        compared = compare(web, minimal, fixtures, plan)
        mixed = {users: run(web, fixtures, MIX, users=users, seconds=long) for users, long in plan.mixed.items()}
        overload = run(web, fixtures, MIX, users=OVERLOAD, seconds=plan.overload)
        after = run(web, fixtures, MIX, users=10, seconds=plan.compared)
    rows = [*compared, *mixed_rows(mixed), row_of("mixed, past saturation", OVERLOAD, overload)]
    rows.append(row_of("mixed, after overload", 10, after))
    print(save_results("load", rows, [*verdicts(rows, mixed, overload), *notes(plan)]))


def behind_nginx(stack: ExitStack, *, log: Any, **variables: str) -> Web:
    """Start gunicorn behind an nginx of its own, with the shipped configuration."""
    port, probes = free_port(), f"127.0.0.1:{free_port()}"
    web = stack.enter_context(Web(log=log, PORT=str(port), PROBE_BIND=probes, PROXY_COUNT="1", **variables))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    web.url = stack.enter_context(nginx_in_container(folder, Behind(f"127.0.0.1:{port}", probes)))
    return web


def run(web: Web, fixtures: dict[str, Any], mix: dict[str, int], *, users: int, seconds: float) -> Run:
    plan = {**fixtures, "url": web.url, "mix": mix, "users": users, "seconds": seconds}
    command = [sys.executable, "-m", "bench.load_users"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    cpu, started = web.cpu_seconds(), time.monotonic()
    stdin: Any = process.stdin
    stdin.write(json.dumps(plan))
    stdin.close()
    memory = []
    while time.monotonic() < started + seconds - SAMPLE_SECONDS:
        time.sleep(SAMPLE_SECONDS)
        memory.append((time.monotonic() - started, web.memory()))
    stdout: Any = process.stdout
    text = stdout.read()
    spent = web.cpu_seconds() - cpu
    if process.wait():
        raise RuntimeError("the load generator failed")
    result = Run(seconds, spent, json.loads(text), memory)
    print(f"{users} users, {'/'.join(mix)}: {len(result.ms) / seconds:.0f} per second", file=sys.stderr, flush=True)
    return result


def compare(web: Web, minimal: Web, fixtures: dict[str, Any], plan: Plan) -> list[dict[str, Any]]:
    sites = {"minimal": minimal, "redirect": web, "list": web}
    runs: dict[str, list[Run]] = {kind: [] for kind in sites}
    alone: dict[str, list[Run]] = {kind: [] for kind in sites}
    for kind, site in sites.items():  # once without counting
        run(site, fixtures, {kind: 1}, users=CONCURRENCY, seconds=plan.compared / 2)
    for _round in range(ROUNDS):
        for kind, site in sites.items():
            runs[kind].append(run(site, fixtures, {kind: 1}, users=CONCURRENCY, seconds=plan.compared))
            alone[kind].append(run(site, fixtures, {kind: 1}, users=1, seconds=plan.compared / 3))
    rows = []
    for kind in sites:
        row = row_of(f"{kind} alone", CONCURRENCY, _median(runs[kind]))
        row["single_user_ms"] = round(statistics.median(result.percentile(0.5) for result in alone[kind]), 2)
        rows.append(row)
    for row in rows:
        row["ratio"] = round(rows[0]["per_second"] / row["per_second"], 2)
        row["cpu_ratio"] = round(row["web_cpu_ms"] / rows[0]["web_cpu_ms"], 2)
        row["single_user_ratio"] = round(row["single_user_ms"] / rows[0]["single_user_ms"], 2)
    return rows


def _median(runs: Sequence[Run]) -> Run:
    return sorted(runs, key=lambda result: len(result.ms))[len(runs) // 2]


def mixed_rows(mixed: dict[int, Run]) -> list[dict[str, Any]]:
    rows = [row_of("mixed", users, done) for users, done in sorted(mixed.items())]
    middle = mixed[50]
    for kind, stats in middle.stats.items():
        rows.append(row_of(f"mixed: {kind}", 50, Run(middle.seconds, 0.0, {kind: stats})))
    return rows


def row_of(case: str, users: int, done: Run) -> dict[str, Any]:
    answered, statuses = len(done.ms), done.statuses
    rejected = statuses.get("503", 0)
    row = {
        "case": case,
        "users": users,
        "per_second": round(answered / done.seconds, 1),
        "p50_ms": done.percentile(0.50),
        "p95_ms": done.percentile(0.95),
        "p99_ms": done.percentile(0.99),
        "errors": sum(statuses.values()) - answered - rejected,
        "rejected": rejected,
    }
    if done.cpu_s > 0:  # unless a process was replaced, whose CPU time is lost
        row["web_cpu_ms"] = round(done.cpu_s * 1000 / max(1, answered), 2)
    return row


def growth(done: Run) -> tuple[float, float]:
    """Return MiB of all web processes at the end, and MiB per minute that they grew after the first quarter."""
    later = done.memory[len(done.memory) // 4 :]
    if len(later) < 2:
        return 0.0, 0.0
    slope = statistics.linear_regression([at for at, _size in later], [size for _at, size in later]).slope
    return later[-1][1] / 1024**2, slope * 60 / 1024**2


def verdicts(rows: list[dict[str, Any]], mixed: dict[int, Run], overload: Run) -> list[str]:
    by_case = {row["case"]: row for row in rows}
    lines = [
        f"{kind}: {row['ratio']} times the minimal view, {row['cpu_ratio']} times its web CPU, "
        f"{row['single_user_ratio']} times its response time for one user (at most {limit})"
        for kind, limit in MAX_TIMES.items()
        for row in [by_case[f"{kind} alone"]]
    ]
    listed = by_case["list alone"]
    lines.append(
        f"list: {listed['web_cpu_ms']} ms of web CPU (at most {MAX_LIST_CPU_MS}), "
        f"{listed['cpu_ratio']} times that of the minimal view"
    )
    errors = sum(row["errors"] for row in rows)
    mixed_runs = [row for row in rows if row["case"] == "mixed"]
    best = max(row["per_second"] for row in mixed_runs)
    early = sum(row["rejected"] for row in mixed_runs)
    past = by_case["mixed, past saturation"]
    without_retry_after = sum(stats["without_retry_after"] for stats in overload.stats.values())
    size, slope = growth(mixed[50])
    return [
        *lines,
        f"errors: {errors} (at most 0); rejected with 503 up to {max(mixed)} users: {early} (at most 0)",
        f"past saturation: {past['per_second']:.0f} responses per second of at most {best:.0f}, "
        f"{past['per_second'] / best:.2f} of it (at least {MIN_SATURATION_RATIO}), {past['rejected']} rejected "
        f"with 503, {without_retry_after} of them without Retry-After (at most 0); afterwards "
        f"{by_case['mixed, after overload']['per_second']:.0f} per second",
        f"memory of the web after {sum(done.seconds for done in mixed.values()) / 60:.0f} minutes: {size:.0f} MiB, "
        f"growing by {slope:.2f} MiB per minute (at most {MAX_GROWTH_MIB_MINUTE})",
    ]


def notes(plan: Plan) -> list[str]:
    lengths = ", ".join(f"{users} for {long:.0f} s" for users, long in plan.mixed.items())
    return [
        f"gunicorn: {PROCESSES} processes of 8 threads behind nginx; Postgres, S3 and all clients on the same machine.",
        f"mixed: {MIX} of 100; an upload is start, PUT to storage, finish; users without a pause: {lengths}.",
        "past saturation: users retry after 503 as its Retry-After says.",
        "ratio: requests per second of the minimal view divided by those of the case, 8 users each; "
        "single_user_ms: the median of one user.",
    ]


if __name__ == "__main__":
    main()
