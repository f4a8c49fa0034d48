"""Write the costs and capacity of the template: costs.py > costs.md. From prices.json, the results in bench/results,
and the sizes below, which are parameters of the template; the text is in costs.template.md. Needs no library."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "bench" / "results"
PRICES: dict[str, dict[str, Any]] = json.loads((HERE / "prices.json").read_text())["prices"]

HOURS = 730  # per month
PROCESSES, CONNECTIONS = 2, 10  # of a web task: WEB_CONCURRENCY and DATABASE_CONNECTIONS
BACKGROUND_CONNECTIONS = 16  # connections that a worker or a scheduled command opens at most
TARGET_CPU = 0.6  # of a CPU: where scaling out begins (WebByProcessor)
# A vCPU of Fargate is half a core, the machine of the measurements had whole ones: assumed, to be measured at AWS.
CORE = 0.6
MINUTES_PER_SWEEP = 1  # Fargate bills at least a minute; a sweep without work takes seconds
SWEEPS = 12 * 24 * 30  # every five minutes
NIGHTLY_HOURS = 0.5 * 60 + 1.0 * 4  # verify and export_manifest each night, fsck each week
BYTES_PER_CONNECTION = 9_531_392  # RDS user guide: max_connections = DBInstanceClassMemory / 9531392, 5000 at most
MAX_CONNECTIONS = 5000
ALARMS = 15 + 2 * 2  # those of the template, and two that AWS creates for each target tracking policy
METRICS, SECRETS = 4, 5  # two metrics of the worker, each with and without the bucket's name
# bench/results/library.txt, last lines: start, acquire_lease and publish of a hundred small files among ten million
DATABASE_MS_PER_FILE = (107.4 + 8.7 + 25.3) / 100


@dataclass(frozen=True)
class Size:
    """Parameters of the template, by their names there."""

    name: str
    description: str
    web: int
    worker: int
    database: str
    standby: bool = True
    web_max: int = 10
    worker_max: int = 5
    cpu: int = 512
    memory: int = 1024
    storage: int = 50
    nats: int = 1
    replica: bool = False
    cache: bool = False

    def parameters(self) -> dict[str, str]:
        values = {
            "WebMinTasks": self.web, "WebMaxTasks": self.web_max, "WebCpu": self.cpu, "WebMemory": self.memory,
            "WorkerMinTasks": self.worker, "WorkerMaxTasks": self.worker_max, "DatabaseClass": self.database,
            "DatabaseStorage": self.storage, "DatabaseMaxStorage": 4 * max(self.storage, 250),
            "DatabaseStandby": "on" if self.standby else "off",
            "NatGateways": "each zone" if self.nats > 1 else "one", "ReadReplica": "on" if self.replica else "off",
            "CacheType": "cache.t4g.micro" if self.cache else "",
        }  # fmt: skip
        return {name: str(value) for name, value in values.items()}


SIZES = (
    Size("try", "one of everything: an hour of downtime does no harm", 1, 1, "db.t4g.small", False, 2, 1),
    Size("team", "two of what requests need: a task or a database can fail", 2, 1, "db.t4g.small", True, 4, 3),
    Size(
        "company", "more memory, a cache, NAT in each zone: a whole zone can fail", 4, 2, "db.t4g.medium",
        cpu=1024, memory=2048, storage=200, nats=2, cache=True,
    ),
    Size(
        "large", "a large library: memory for its indexes, a replica for lists", 10, 5, "db.r8g.xlarge",
        web_max=40, worker_max=20, cpu=1024, memory=2048, storage=1000, nats=2, replica=True, cache=True,
    ),
)  # fmt: skip

Line = tuple[str, str, float]  # item, arithmetic, dollars per month


def usd(name: str) -> float:
    return float(PRICES[name]["usd"])


def lines(size: Size) -> Iterator[Line]:
    """Yield the costs without any uploads or requests."""
    vcpu, gib = size.cpu / 1024, size.memory / 1024
    yield _fargate(f"web: {size.web}", size.web * HOURS, vcpu, gib)
    yield _fargate(f"workers: {size.worker}", size.worker * HOURS, 0.5, 1)
    yield _fargate("sweeps", SWEEPS * MINUTES_PER_SWEEP / 60, 0.25, 0.5)
    yield _fargate("verify, manifests, fsck", NIGHTLY_HOURS, 0.5, 1)
    machines = 1 + size.standby
    yield _hours(f"database {size.database}", size.database, machines)
    disks = machines + size.replica
    if size.replica:
        yield _hours("read replica", size.database, 1)
    arithmetic = f"{disks} × {size.storage} GB × {usd('database_gb_month')}"
    yield "database disks", arithmetic, disks * size.storage * usd("database_gb_month")
    if size.cache:
        yield _hours("cache, two nodes", "cache.t4g.micro", 2)
    yield _hours("load balancer", "balancer_hour", 1)
    yield _hours("load balancer traffic, at most one unit", "balancer_unit_hour", 1)
    yield _hours("NAT", "nat_hour", size.nats)
    yield _hours("public addresses (load balancer, NAT)", "ipv4_hour", 2 + size.nats)
    secrets = SECRETS + 2 * size.cache
    yield "secrets", f"{secrets} × {usd('secret_month'):.2f}", secrets * usd("secret_month")
    watched = ALARMS * usd("alarm_month") + METRICS * usd("metric_month")
    yield "alarms and metrics", f"{ALARMS} × {usd('alarm_month'):.2f} + {METRICS} × {usd('metric_month'):.2f}", watched
    yield "logs", f"2 GB × {usd('log_gb'):.2f}", 2 * usd("log_gb")


def _fargate(item: str, hours: float, vcpu: float, gib: float) -> Line:
    each = vcpu * usd("fargate_vcpu_hour") + gib * usd("fargate_gb_hour")
    arithmetic = f"{hours:g} h × ({vcpu:g} vCPU × {usd('fargate_vcpu_hour')} + {gib:g} GB × {usd('fargate_gb_hour')})"
    return item, arithmetic, hours * each


def _hours(item: str, price: str, count: int) -> Line:
    return item, f"{count} × {HOURS} h × {usd(price)}", count * HOURS * usd(price)


# --- capacity ---------------------------------------------------------------------------------


def measured(file: str, column: str, **where: str) -> float:
    rows = json.loads((RESULTS / f"{file}.json").read_text())["rows"]
    (row,) = (row for row in rows if all(row[name] == value for name, value in where.items()))
    return float(row[column])


def capacity(size: Size) -> dict[str, float]:
    """Return the maximum with all web tasks; a second of CPU time counts as CORE seconds of a core."""
    page = measured("library", "web_cpu_ms", case="all files, -added", user="member")
    upload = measured("upload", "web_cpu_ms_per_file", case="1000 files of 10 KiB", client="page in Chromium")
    milliseconds = size.web_max * size.cpu / 1024 * CORE * TARGET_CPU * 1000
    memory = float(PRICES[size.database]["gib"]) * 1024**3
    return {
        "pages per second": milliseconds / page,
        "small files per second": milliseconds / upload,
        "by the database": database_milliseconds(size) / DATABASE_MS_PER_FILE,
        "connections used": connections(size),
        "connections available": min(memory / BYTES_PER_CONNECTION, MAX_CONNECTIONS),
    }


def database_milliseconds(size: Size) -> float:
    """Return the sustained CPU time per second."""
    its = PRICES[size.database]
    return float(its["vcpu"]) * float(its.get("share", CORE * TARGET_CPU)) * 1000


def connections(size: Size) -> int:
    return size.web_max * PROCESSES * CONNECTIONS + (size.worker_max + 2) * BACKGROUND_CONNECTIONS


# --- the page ---------------------------------------------------------------------------------


def total(size: Size) -> float:
    return sum(dollars for _, _, dollars in lines(size))


def page() -> str:
    parts = {"sizes": _rows(_size), "capacity": _rows(_capacity_row), "tables": "\n".join(map(_table, SIZES))}
    parts["prices"] = "\n".join(f"| {name} | {it['usd']:g} | {it['source']} |" for name, it in PRICES.items())
    return (HERE / "costs.template.md").read_text().format(**_values(), **parts)


def _values() -> dict[str, Any]:
    return {
        "hours": HOURS, "aurora": usd("aurora_unit_hour"), "aurora_month": HOURS * usd("aurora_unit_hour"),
        "s3": usd("s3_gb_month"), "terabyte": 1000 * usd("s3_gb_month"), "content": usd("content_gb"),
        "out": 1000 * usd("content_gb"), "core": CORE, "busy": TARGET_CPU, "processes": PROCESSES, "each": CONNECTIONS,
        "behind": BACKGROUND_CONNECTIONS, "bytes": BYTES_PER_CONNECTION, "cpu": "`WebCpu` ÷ 1024",
        "database": DATABASE_MS_PER_FILE,
        "page": measured("library", "web_cpu_ms", case="all files, -added", user="member"),
        "upload": measured("upload", "web_cpu_ms_per_file", case="1000 files of 10 KiB", client="page in Chromium"),
        "file": _ten_megabytes(),
    }  # fmt: skip


def _ten_megabytes() -> str:
    """Return the arithmetic for a file that is uploaded once, read twice, downloaded once, and stored for a month."""
    put, get = usd("s3_put_1000") / 1000, usd("s3_get_1000") / 1000
    request = usd("content_10000") / 10_000
    each = put + 0.01 * usd("s3_gb_month") + 3 * get + 0.01 * usd("content_gb") + request
    storage, transfer = f"0.01 GB × {usd('s3_gb_month')}", f"0.01 GB × {usd('content_gb')}"
    return f"{put:.6f} + {storage} + 3 × {get:.7f} + {transfer} + {request:.6f} = {each:.5f}"


def _rows(row: Any) -> str:
    return "\n".join(row(size) for size in SIZES)


def _size(size: Size) -> str:
    parameters = " ".join(f"{name}={_quoted(value)}" for name, value in size.parameters().items() if value)
    return f"| {size.name} | {size.description} | **{total(size):.0f}** | `{parameters}` |"


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _table(size: Size) -> str:
    rows = "\n".join(f"| {item} | {arithmetic} | {dollars:.2f} |" for item, arithmetic, dollars in lines(size))
    return (
        f"### {size.name}\n\n| Item | Arithmetic | Per month |\n|---|---|---|\n{rows}\n| | | **{total(size):.2f}** |\n"
    )


def _capacity_row(size: Size) -> str:
    values = capacity(size)
    return f"| {size.name} | " + " | ".join(f"{value:,.0f}" for value in values.values()) + " |"


if __name__ == "__main__":
    sys.stdout.write(page())
