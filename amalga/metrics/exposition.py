"""All that was counted, and what is the case now, as Prometheus reads it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from amalga.metrics import multiprocess, registry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "amalga_"
BEGUN_SECONDS = 0.05


@dataclass(frozen=True)
class Sample:
    """One number that is the case now."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)
    help: str = ""


class SampleCollector(Collector):
    def __init__(self, nows: Iterable[Sample]) -> None:
        self._nows = list(nows)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for now in self._nows:
            family = families.setdefault(
                now.name, GaugeMetricFamily(PREFIX + now.name, now.help or now.name, labels=[*now.labels])
            )
            family.add_metric([*now.labels.values()], now.value)
        yield from families.values()


def exposition(nows: Iterable[Sample], *, folder: str = "") -> bytes:
    """`folder`: where the processes of this server count, if they are several."""
    now = CollectorRegistry()
    now.register(SampleCollector(nows))
    if not folder:
        return generate_latest(registry.registry) + generate_latest(now)
    return _of_all(Path(folder)) + generate_latest(now)


def _of_all(folder: Path, *, tries: int = 3) -> bytes:
    """A process that has just begun has a file with nothing in it for a moment: then once more."""
    together = CollectorRegistry()
    try:
        with multiprocess.locked(folder, alone=False):
            MultiProcessCollector(together, str(folder))  # type: ignore[no-untyped-call]
            return generate_latest(together)
    except (struct.error, RuntimeError):
        if tries <= 1:
            raise
        time.sleep(BEGUN_SECONDS)
        return _of_all(folder, tries=tries - 1)
