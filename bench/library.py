"""Compare the response times of a library of ten thousand files with those of ten million.

`make bench-library` creates both in the embedded Postgres, starts a gunicorn for each, and sends requests to both in
turn, so that a change of the machine's speed affects both. `--small` and `--large` choose other sizes.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from amalga.local.processes import free_port
from bench.fsck_fixtures import url_of
from bench.report import RESULTS, save_results
from bench.web import Web

WARM_UP = 3
TIMEOUT_SECONDS = 30
MAX_RATIOS = {"list": 1.5, "folder": 1.5, "admin list": 1.5, "search": 3.0, "filter": 3.0}  # times, at most
MAX_MS, MAX_DASHBOARD_MS, MAX_CPU_MS = 200, 1000, 40
WITH_CPU_LIMIT = {"list", "folder"}
SHARED_BUFFERS = "4GB"


@dataclass(slots=True)
class Site:
    """One library behind a web server, with a persistent connection."""

    web: Web
    cookies: dict[str, str]
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(self.web.url).netloc, timeout=TIMEOUT_SECONDS)

    def get(self, address: str, user: str) -> tuple[float, int]:
        """Return the milliseconds until the whole response has arrived, and its status."""
        started = time.perf_counter()
        self.connection.request("GET", address, headers={"Cookie": self.cookies[user]})
        response = self.connection.getresponse()
        response.read()
        return (time.perf_counter() - started) * 1000, response.status


@dataclass(slots=True)
class Timings:
    """Response times, statuses and CPU time of one case at one site."""

    ms: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    cpu_s: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.ms)

    @property
    def p95(self) -> float:
        return sorted(self.ms)[math.ceil(0.95 * len(self.ms)) - 1]

    @property
    def cpu_ms(self) -> float:
        return self.cpu_s * 1000 / len(self.ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--requests", type=int, default=50, help="of each case, to each of the two libraries")
    options = parser.parse_args()
    enlarge_cache()
    libraries, sites = [], []
    with ExitStack() as stack:
        for files in (options.small, options.large):
            url = _library(files)
            library = json.loads(_python("bench.library_queries", url))
            web = stack.enter_context(Web(DATABASE_URL=url, PORT=str(free_port())))
            libraries.append(library)
            sites.append(Site(web, library["cookies"]))
        rows = [
            _measure(sites, options.requests, *both)
            for both in zip(libraries[0]["cases"], libraries[1]["cases"], strict=True)
        ]
    notes = [
        f"small: {options.small:,} files, large: {options.large:,}; {options.requests} requests per case.",
        *_verdicts(rows),
    ]
    notes += json.loads(_python("bench.library_uploads", url_of(_name(options.large))))
    _save_plans(libraries[1]["cases"])
    print(save_results("library", rows, [*notes, f"Postgres as embedded, but shared_buffers = {SHARED_BUFFERS}."]))


def _measure(sites: Sequence[Site], requests: int, *cases: dict[str, Any]) -> dict[str, Any]:
    small, large = Timings(), Timings()
    sides = list(zip(sites, (small, large), cases, strict=True))
    for site, _timings, case in sides:
        for turn in range(WARM_UP):
            site.get(_address(case, turn), case["user"])
    for turn in range(requests):
        for site, timings, case in sides:
            with _cpu_of(site.web, timings):
                ms, status = site.get(_address(case, turn), case["user"])
            timings.ms.append(ms)
            timings.statuses.add(status)
    print(f"{cases[1]['name']}: {small.median:.1f} and {large.median:.1f} ms", file=sys.stderr, flush=True)
    return _row(cases[1], small, large)


def _address(case: dict[str, Any], turn: int) -> str:
    return str(case["addresses"][turn % len(case["addresses"])])


@contextmanager
def _cpu_of(web: Web, timings: Timings) -> Iterator[None]:
    before = web.cpu_seconds()
    yield
    timings.cpu_s += web.cpu_seconds() - before


def _row(case: dict[str, Any], small: Timings, large: Timings) -> dict[str, Any]:
    row = {
        "case": case["name"],
        "user": case["user"],
        "kind": case["kind"],
        "queries": case["queries"],
        "small_ms": round(small.median, 1),
        "small_p95_ms": round(small.p95, 1),
        "large_ms": round(large.median, 1),
        "large_p95_ms": round(large.p95, 1),
        "ratio": round(large.median / small.median, 2),
        "web_cpu_ms": round(large.cpu_ms, 1),
    }
    return {**row, "missed": _missed(row, small.statuses | large.statuses)}


def _missed(row: dict[str, Any], statuses: set[int]) -> str:
    kind = row["kind"]
    max_ms = MAX_DASHBOARD_MS if kind == "dashboard" else MAX_MS
    missed = [f"status {status}" for status in sorted(statuses - {200})]
    if row["ratio"] > MAX_RATIOS.get(kind, math.inf):
        missed.append("ratio")
    if row["large_p95_ms"] > max_ms:
        missed.append("p95")
    if kind in WITH_CPU_LIMIT and row["web_cpu_ms"] > MAX_CPU_MS:
        missed.append("cpu")
    return " ".join(missed)


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        limit = f" (at most {MAX_RATIOS[kind]})" if kind in MAX_RATIOS else ""
        worst, slowest = max(row["ratio"] for row in of_kind), max(row["large_p95_ms"] for row in of_kind)
        passed = sum(not row["missed"] for row in of_kind)
        max_ms = MAX_DASHBOARD_MS if kind == "dashboard" else MAX_MS
        lines.append(
            f"{kind}: {passed} of {len(of_kind)} are within all limits; ratio up to {worst}{limit}, "
            f"p95 up to {slowest} ms (at most {max_ms})"
        )
    cpu = max(row["web_cpu_ms"] for row in rows if row["kind"] in WITH_CPU_LIMIT)
    return [*lines, f"web CPU of a list page: up to {cpu} ms (at most {MAX_CPU_MS})"]


def _save_plans(cases: Sequence[dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    texts = ["\n".join([f"== {case['name']} ({case['user']})", case["sql"], "", *case["plan"]]) for case in cases]
    (RESULTS / "library-plans.txt").write_text("\n\n".join(texts) + "\n")


def _library(files: int) -> str:
    """Return the URL of a library with this many files; create it if necessary."""
    name = _name(files)
    url = url_of(name)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    print(f"a library of {files:,} files", file=sys.stderr, flush=True)
    _python("bench.library_seed", url, str(files))
    return url


def _name(files: int) -> str:
    return f"library_{files}"


def _python(module: str, url: str, *arguments: str) -> str:
    """Run a module of the benchmark in a process with another database, because settings are read once per process."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.run(
        command, env=os.environ | {"DATABASE_URL": url}, stdout=subprocess.PIPE, check=True, text=True
    )
    return process.stdout


def enlarge_cache() -> None:
    """Give Postgres the memory for a library of millions. Its supervisor restarts it."""
    with psycopg.connect(os.environ["LOCAL_SUPERUSER_URL"], autocommit=True) as connection:
        query = "SELECT current_setting('shared_buffers'), pg_read_file('postmaster.pid')"
        current, pid_file = connection.execute(query).fetchone() or ("", "")
        if current == SHARED_BUFFERS:
            return
        connection.execute(sql.SQL("ALTER SYSTEM SET shared_buffers = {}").format(sql.Literal(SHARED_BUFFERS)))
        connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
    os.kill(int(pid_file.split()[0]), 2)  # SIGINT, its fast shutdown
    end = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < end:
        time.sleep(1)
        try:
            psycopg.connect(os.environ["LOCAL_SUPERUSER_URL"]).close()
        except psycopg.OperationalError:
            continue
        return
    raise TimeoutError("Postgres did not restart with more memory")


if __name__ == "__main__":
    main()
