"""What a team's traffic costs, and what happens when there is more of it than the machine carries.

`make bench-load` starts gunicorn with two processes behind the shipped nginx, over the embedded Postgres and S3, all on
this machine, and asks from another process, each person from an address of their own. First a minimal Django view with
one query, a download's redirect and a list, in turn, so that a change of the machine's speed meets all three; then
lists, file pages, redirects and uploads mixed, by 1, 10, 50 and 200 people who never pause; then by many times more,
who come back when 503 tells them to. With the memory that is watched meanwhile it takes eleven minutes; `--short` takes
two.
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
from bench.load_stage import stage
from bench.load_users import BODY
from bench.table import keep
from bench.web import Web
from tests.support.reverse_proxies import Behind, nginx_in_container

PROCESSES = "2"
MIX = {"list": 30, "page": 20, "redirect": 40, "upload": 10}
AT_ONCE = 8  # people in the comparison: more than the processors, so that each server is busy
ROUNDS = 3
MAX_TIMES = {"redirect": 3.3}
MAX_LIST_CPU_MS = 13
OVERLOAD = 1500
LEAST_PAST_SATURATION = 0.8
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
    """What people met, and what the server spent meanwhile."""

    seconds: float
    cpu_s: float
    met: dict[str, dict[str, Any]]
    memory: list[tuple[float, int]] = field(default_factory=list)

    @property
    def ms(self) -> list[float]:
        return sorted(ms for met in self.met.values() for ms in met["ms"])

    @property
    def statuses(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        for met in self.met.values():
            counted.update(met["statuses"])
        return counted

    def percentile(self, share: float) -> float:
        ms = self.ms
        return round(ms[min(len(ms) - 1, int(share * len(ms)))], 1) if ms else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    plan = SHORT if options.short else LONG
    told = stage()
    told["sha256"] = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    variables = {"WEB_CONCURRENCY": PROCESSES}
    minimal_settings = {"DJANGO_SETTINGS_MODULE": "bench.minimal_settings"}
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        web = behind_nginx(stack, log=log, **variables)
        minimal = behind_nginx(stack, log=log, **variables, **minimal_settings)
        compared = compare(web, minimal, told, plan)
        mixed = {users: run(web, told, MIX, users=users, seconds=long) for users, long in plan.mixed.items()}
        overload = run(web, told, MIX, users=OVERLOAD, seconds=plan.overload)
        after = run(web, told, MIX, users=10, seconds=plan.compared)
    rows = [*compared, *mixed_rows(mixed), row_of("mixed, past saturation", OVERLOAD, overload)]
    rows.append(row_of("mixed, after it", 10, after))
    print(keep("load", rows, [*verdicts(rows, mixed, overload), *notes(plan)]))


def behind_nginx(stack: ExitStack, *, log: Any, **variables: str) -> Web:
    """Both sites that are compared have one of their own, with the shipped configuration."""
    port, probes = free_port(), f"127.0.0.1:{free_port()}"
    web = stack.enter_context(Web(log=log, PORT=str(port), PROBE_BIND=probes, PROXY_COUNT="1", **variables))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    web.url = stack.enter_context(nginx_in_container(folder, Behind(f"127.0.0.1:{port}", probes)))
    return web


def run(web: Web, told: dict[str, Any], mix: dict[str, int], *, users: int, seconds: float) -> Run:
    plan = {**told, "url": web.url, "mix": mix, "users": users, "seconds": seconds}
    command = [sys.executable, "-m", "bench.load_users"]
    crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    cpu, begun = web.cpu_seconds(), time.monotonic()
    told_to: Any = crowd.stdin
    told_to.write(json.dumps(plan))
    told_to.close()
    memory = []
    while time.monotonic() < begun + seconds - SAMPLE_SECONDS:
        time.sleep(SAMPLE_SECONDS)
        memory.append((time.monotonic() - begun, web.memory()))
    heard: Any = crowd.stdout
    text = heard.read()
    spent = web.cpu_seconds() - cpu
    if crowd.wait():
        raise RuntimeError("the crowd broke off")
    done = Run(seconds, spent, json.loads(text), memory)
    print(f"{users} people, {'/'.join(mix)}: {len(done.ms) / seconds:.0f} a second", file=sys.stderr, flush=True)
    return done


def compare(web: Web, minimal: Web, told: dict[str, Any], plan: Plan) -> list[dict[str, Any]]:
    sites = {"minimal": minimal, "redirect": web, "list": web}
    runs: dict[str, list[Run]] = {kind: [] for kind in sites}
    alone: dict[str, list[Run]] = {kind: [] for kind in sites}
    for kind, site in sites.items():  # once without counting
        run(site, told, {kind: 1}, users=AT_ONCE, seconds=plan.compared / 2)
    for _round in range(ROUNDS):
        for kind, site in sites.items():
            runs[kind].append(run(site, told, {kind: 1}, users=AT_ONCE, seconds=plan.compared))
            alone[kind].append(run(site, told, {kind: 1}, users=1, seconds=plan.compared / 3))
    rows = []
    for kind in sites:
        row = row_of(f"{kind} alone", AT_ONCE, _median(runs[kind]))
        row["one_ms"] = round(statistics.median(one.percentile(0.5) for one in alone[kind]), 2)
        rows.append(row)
    for row in rows:
        row["times"] = round(rows[0]["a_second"] / row["a_second"], 2)
        row["times_cpu"] = round(row["web_cpu_ms"] / rows[0]["web_cpu_ms"], 2)
        row["times_one"] = round(row["one_ms"] / rows[0]["one_ms"], 2)
    return rows


def _median(runs: Sequence[Run]) -> Run:
    return sorted(runs, key=lambda one: len(one.ms))[len(runs) // 2]


def mixed_rows(mixed: dict[int, Run]) -> list[dict[str, Any]]:
    rows = [row_of("mixed", users, done) for users, done in sorted(mixed.items())]
    middle = mixed[50]
    for kind, met in middle.met.items():
        rows.append(row_of(f"mixed: {kind}", 50, Run(middle.seconds, 0.0, {kind: met})))
    return rows


def row_of(case: str, users: int, done: Run) -> dict[str, Any]:
    answered, statuses = len(done.ms), done.statuses
    turned_away = statuses.get("503", 0)
    row = {
        "case": case,
        "users": users,
        "a_second": round(answered / done.seconds, 1),
        "p50_ms": done.percentile(0.50),
        "p95_ms": done.percentile(0.95),
        "p99_ms": done.percentile(0.99),
        "errors": sum(statuses.values()) - answered - turned_away,
        "turned_away": turned_away,
    }
    if done.cpu_s > 0:  # a process that was replaced meanwhile has taken its count along
        row["web_cpu_ms"] = round(done.cpu_s * 1000 / max(1, answered), 2)
    return row


def growth(done: Run) -> tuple[float, float]:
    """MiB of all web processes at the end, and by how many MiB a minute they grew after the first quarter."""
    later = done.memory[len(done.memory) // 4 :]
    if len(later) < 2:
        return 0.0, 0.0
    slope = statistics.linear_regression([at for at, _size in later], [size for _at, size in later]).slope
    return later[-1][1] / 1024**2, slope * 60 / 1024**2


def verdicts(rows: list[dict[str, Any]], mixed: dict[int, Run], overload: Run) -> list[str]:
    told = {row["case"]: row for row in rows}
    lines = [
        f"{kind}: {one['times']} times the minimal view, {one['times_cpu']} times its web CPU, {one['times_one']} "
        f"times its time for one person (at most {most})"
        for kind, most in MAX_TIMES.items()
        for one in [told[f"{kind} alone"]]
    ]
    listed = told["list alone"]
    lines.append(
        f"list: {listed['web_cpu_ms']} ms of web CPU (at most {MAX_LIST_CPU_MS}), "
        f"{listed['times_cpu']} times that of the minimal view"
    )
    errors = sum(row["errors"] for row in rows)
    mixed_alone = [row for row in rows if row["case"] == "mixed"]
    best = max(row["a_second"] for row in mixed_alone)
    early = sum(row["turned_away"] for row in mixed_alone)
    past = told["mixed, past saturation"]
    late = sum(met["late"] for met in overload.met.values())
    size, slope = growth(mixed[50])
    return [
        *lines,
        f"errors: {errors} (at most 0); turned away by 503 up to {max(mixed)} people: {early} (at most 0)",
        f"past saturation: {past['a_second']:.0f} answers a second of at most {best:.0f}, "
        f"{past['a_second'] / best:.2f} of it (at least {LEAST_PAST_SATURATION}), {past['turned_away']} turned "
        f"away by 503, {late} of them without Retry-After (at most 0); afterwards "
        f"{told['mixed, after it']['a_second']:.0f} a second",
        f"memory of the web after {sum(done.seconds for done in mixed.values()) / 60:.0f} minutes: {size:.0f} MiB, "
        f"growing by {slope:.2f} MiB a minute (at most {MAX_GROWTH_MIB_MINUTE})",
    ]


def notes(plan: Plan) -> list[str]:
    lengths = ", ".join(f"{users} for {long:.0f} s" for users, long in plan.mixed.items())
    return [
        f"gunicorn: {PROCESSES} processes of 8 threads behind nginx; Postgres, S3 and all who ask on the same machine.",
        f"mixed: {MIX} of 100; an upload is start, PUT to the store, finish; people without a pause: {lengths}.",
        "past saturation: people who hear 503 come back when Retry-After says.",
        "times: requests a second of the minimal view by those of the case, 8 people each; one_ms: the median of one.",
    ]


if __name__ == "__main__":
    main()
