"""All that was counted, and what is the case now, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from amalga.metrics import counted, files

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "amalga_"


@dataclass(frozen=True)
class Now:
    """One number that is the case now."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)
    help: str = ""


class _Nows(Collector):
    def __init__(self, nows: Iterable[Now]) -> None:
        self._nows = list(nows)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for now in self._nows:
            family = families.setdefault(
                now.name, GaugeMetricFamily(PREFIX + now.name, now.help or now.name, labels=[*now.labels])
            )
            family.add_metric([*now.labels.values()], now.value)
        yield from families.values()


def exposition(nows: Iterable[Now], *, folder: str = "") -> bytes:
    """`folder`: where the processes of this server count, if they are several."""
    now = CollectorRegistry()
    now.register(_Nows(nows))
    if not folder:
        return generate_latest(counted.registry) + generate_latest(now)
    together = CollectorRegistry()
    with files.held(Path(folder), alone=False):
        MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return generate_latest(together) + generate_latest(now)
