"""Metrics in Prometheus' text format: the counters of all processes, and samples taken now."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from amalga.metrics import registry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "amalga_"
RETRY_SECONDS = 0.05


@dataclass(frozen=True)
class Sample:
    """One current value."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)
    help: str = ""


class SampleCollector(Collector):
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = list(samples)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for sample in self._samples:
            family = families.setdefault(
                sample.name,
                GaugeMetricFamily(PREFIX + sample.name, sample.help or sample.name, labels=[*sample.labels]),
            )
            family.add_metric([*sample.labels.values()], sample.value)
        yield from families.values()


def exposition(samples: Iterable[Sample], *, folder: str = "") -> bytes:
    """Return all metrics. `folder`: the shared folder of several processes, "" for one process."""
    current = CollectorRegistry()
    current.register(SampleCollector(samples))
    if not folder:
        return generate_latest(registry.registry) + generate_latest(current)
    return _all_processes(folder) + generate_latest(current)


def _all_processes(folder: str, *, tries: int = 3) -> bytes:
    """Return the sums of all processes. Retries, since the file of a new process is empty for a moment."""
    combined = CollectorRegistry()
    MultiProcessCollector(combined, folder)  # type: ignore[no-untyped-call]
    try:
        return generate_latest(combined)
    except (struct.error, RuntimeError):
        if tries <= 1:
            raise
        time.sleep(RETRY_SECONDS)
        return _all_processes(folder, tries=tries - 1)
