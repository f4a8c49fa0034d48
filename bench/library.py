"""What a library costs to look at when it holds ten thousand files, and when it holds ten million.

`make bench-library` makes both in the embedded Postgres, starts a gunicorn for each, and asks both in turn, so that
a change of the machine's speed meets both. `--small` and `--large` make other sizes.
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
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from amalga.local.processes import free_port
from bench.table import RESULTS, keep
from bench.web import Web

WARM_UP = 3
PATIENCE_SECONDS = 30
LIKE_SMALL = {"list": 1.5, "folder": 1.5, "admin list": 1.5, "search": 3.0, "filter": 3.0}  # times, at most
MAX_MS, MAX_DASHBOARD_MS, MAX_CPU_MS = 200, 1000, 40
WITH_CPU_BAR = {"list", "folder"}
SHARED_BUFFERS = "4GB"


@dataclass(slots=True)
class Site:
    """One library behind a web server: whoever asks, keeps the connection."""

    web: Web
    cookies: dict[str, str]
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(self.web.url).netloc, timeout=PATIENCE_SECONDS)

    def ask(self, address: str, who: str) -> tuple[float, int]:
        """Milliseconds until the whole answer was here, and its status."""
        begun = time.perf_counter()
        self.connection.request("GET", address, headers={"Cookie": self.cookies[who]})
        answer = self.connection.getresponse()
        answer.read()
        return (time.perf_counter() - begun) * 1000, answer.status


@dataclass(slots=True)
class Asked:
    """What the requests of one case took at one site."""

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
    parser.add_argument("--requests", type=int, default=50, help="of each case, to each of the two")
    options = parser.parse_args()
    enlarge_cache()
    looks, sites = [], []
    with ExitStack() as stack:
        for files in (options.small, options.large):
            url = _library(files)
            look = json.loads(_python("bench.library_look", url))
            web = stack.enter_context(Web(DATABASE_URL=url, PORT=str(free_port())))
            looks.append(look)
            sites.append(Site(web, look["cookies"]))
        rows = [
            _measure(sites, options.requests, *both) for both in zip(looks[0]["cases"], looks[1]["cases"], strict=True)
        ]
    notes = [
        f"small: {options.small:,} files, large: {options.large:,}; {options.requests} requests a case.",
        *_verdicts(rows),
    ]
    notes += json.loads(_python("bench.library_uploads", _url(options.large)))
    _keep_plans(looks[1]["cases"])
    print(keep("library", rows, [*notes, f"Postgres as embedded, but shared_buffers = {SHARED_BUFFERS}."]))


def _measure(sites: Sequence[Site], requests: int, *cases: dict[str, Any]) -> dict[str, Any]:
    small, large = Asked(), Asked()
    both = list(zip(sites, (small, large), cases, strict=True))
    for site, _asked, case in both:
        for turn in range(WARM_UP):
            site.ask(_address(case, turn), case["who"])
    for turn in range(requests):
        for site, asked, case in both:
            with _cpu_of(site.web, asked):
                ms, status = site.ask(_address(case, turn), case["who"])
            asked.ms.append(ms)
            asked.statuses.add(status)
    print(f"{cases[1]['name']}: {small.median:.1f} and {large.median:.1f} ms", file=sys.stderr, flush=True)
    return _row(cases[1], small, large)


def _address(case: dict[str, Any], turn: int) -> str:
    return str(case["addresses"][turn % len(case["addresses"])])


@contextmanager
def _cpu_of(web: Web, asked: Asked) -> Iterator[None]:
    before = web.cpu_seconds()
    yield
    asked.cpu_s += web.cpu_seconds() - before


def _row(case: dict[str, Any], small: Asked, large: Asked) -> dict[str, Any]:
    row = {
        "case": case["name"],
        "who": case["who"],
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
    most_ms = MAX_DASHBOARD_MS if kind == "dashboard" else MAX_MS
    found = [f"answered {status}" for status in sorted(statuses - {200})]
    if row["ratio"] > LIKE_SMALL.get(kind, math.inf):
        found.append("ratio")
    if row["large_p95_ms"] > most_ms:
        found.append("p95")
    if kind in WITH_CPU_BAR and row["web_cpu_ms"] > MAX_CPU_MS:
        found.append("cpu")
    return " ".join(found)


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        most = f" (at most {LIKE_SMALL[kind]})" if kind in LIKE_SMALL else ""
        worst, slowest = max(row["ratio"] for row in of_kind), max(row["large_p95_ms"] for row in of_kind)
        kept = sum(not row["missed"] for row in of_kind)
        bar = MAX_DASHBOARD_MS if kind == "dashboard" else MAX_MS
        lines.append(
            f"{kind}: {kept} of {len(of_kind)} keep all bars; ratio up to {worst}{most}, "
            f"p95 up to {slowest} ms (at most {bar})"
        )
    cpu = max(row["web_cpu_ms"] for row in rows if row["kind"] in WITH_CPU_BAR)
    return [*lines, f"web CPU of a list page: up to {cpu} ms (at most {MAX_CPU_MS})"]


def _keep_plans(cases: Sequence[dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    texts = ["\n".join([f"== {case['name']} ({case['who']})", case["sql"], "", *case["plan"]]) for case in cases]
    (RESULTS / "library-plans.txt").write_text("\n\n".join(texts) + "\n")


def _library(files: int) -> str:
    """The URL of a library with this many files; it is made unless it is there."""
    url, name = _url(files), urlsplit(_url(files)).path[1:]
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    print(f"a library of {files:,} files", file=sys.stderr, flush=True)
    _python("bench.library_make", url, str(files))
    return url


def _url(files: int) -> str:
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/library_{files}"))


def _python(module: str, url: str, *arguments: str) -> str:
    """Run a module of the bench with another database: settings are read once in a process."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, env=os.environ | {"DATABASE_URL": url}, stdout=subprocess.PIPE, check=True, text=True
    )
    return done.stdout


def enlarge_cache() -> None:
    """Give Postgres the memory that a library of millions deserves. Whoever runs it starts it again."""
    with psycopg.connect(os.environ["LOCAL_SUPERUSER_URL"], autocommit=True) as connection:
        asked = "SELECT current_setting('shared_buffers'), pg_read_file('postmaster.pid')"
        now, pid_file = connection.execute(asked).fetchone() or ("", "")
        if now == SHARED_BUFFERS:
            return
        connection.execute(sql.SQL("ALTER SYSTEM SET shared_buffers = {}").format(sql.Literal(SHARED_BUFFERS)))
        connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
    os.kill(int(pid_file.split()[0]), 2)  # SIGINT, its fast shutdown
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        time.sleep(1)
        try:
            psycopg.connect(os.environ["LOCAL_SUPERUSER_URL"]).close()
        except psycopg.OperationalError:
            continue
        return
    raise TimeoutError("Postgres did not come back with more memory")


if __name__ == "__main__":
    main()
