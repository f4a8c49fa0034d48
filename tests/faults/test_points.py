"""A crash at a failpoint loses nothing: after retries and two sweeps, bucket and rows agree."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from tests.conftest import PROJECT
from tests.faults import scenarios
from tests.faults.conftest import PART_BYTES
from tests.faults.harness import Harness
from tests.faults.in_process import InProcess
from tests.faults.processes import ForkedRunner, ForkServer, RealProcesses, session_cookies
from tests.faults.scenarios import SCENARIOS
from tests.support.stores import Bucket

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SPREAD = True
S3_SMALLEST_PART = 5 * 1024**2
MORTAL = [name for name, scenario in SCENARIOS.items() if scenario.points]
UPLOADS = [name for name, scenario in SCENARIOS.items() if any(p.startswith("finish.") for p in scenario.points)]
CASES = [(name, point) for name, scenario in SCENARIOS.items() for point in scenario.points]


def points_in_the_source() -> list[str]:
    texts = (path.read_text() for path in sorted((PROJECT / "uploads").rglob("*.py")))
    return [point for text in texts for point in re.findall(r"\bfailpoint\((.*)\)", text) if "name: str" not in point]


def points_first_reached_in(name: str) -> list[str]:
    """Return the failpoints that no earlier scenario reaches, or else the last one; the long form runs all."""
    covered: set[str] = set()
    for other, scenario in SCENARIOS.items():
        if other == name:
            return [point for point in scenario.points if point not in covered] or [scenario.points[-1]]
        covered |= set(scenario.points)
    raise KeyError(name)


def run_until_crash(name: str, point: str, harness: Harness) -> None:
    try:
        scenarios.run(name, harness)
        assert harness.client.died, "the failpoint was not reached"
    except BaseException as fault:
        fault.add_note(f"died at {point}")
        raise


def test_every_failpoint_has_a_scenario_and_every_scenario_a_failpoint() -> None:
    points = points_in_the_source()
    assert all(re.fullmatch(r'"[a-z-]+\.\d-[a-z-]+"', point) for point in points)
    assert [point for point, count in Counter(points).items() if count > 1] == []
    assert {point.strip('"') for point in points} == {point for _name, point in CASES}


@pytest.mark.parametrize("name", MORTAL)
def test_crash_at_failpoint_loses_nothing(
    name: str, fork_server: ForkServer, alice: User, bucket: Bucket, neighbour: None, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = PART_BYTES
    fallback = InProcess(session_cookies(alice))
    for point in points_first_reached_in(name):
        run_until_crash(
            name, point, Harness(ForkedRunner(fork_server, alice, point), fallback, bucket, part_bytes=PART_BYTES)
        )


def test_crash_during_completion_with_checksums_loses_nothing(
    digest_fork_server: ForkServer, digest_bucket: Bucket, owned: None, alice: User, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = S3_SMALLEST_PART
    point, fallback = "finish.4-completed", InProcess(session_cookies(alice))
    harness = Harness(
        ForkedRunner(digest_fork_server, alice, point), fallback, digest_bucket, part_bytes=S3_SMALLEST_PART
    )
    run_until_crash("complete_file_in_parts", point, harness)


# --- the long form ----------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(("name", "point"), CASES)
def test_crash_of_real_processes_loses_nothing(
    name: str, point: str, alice: User, bucket: Bucket, neighbour: None, settings: Settings, tmp_path: Path
) -> None:
    settings.UPLOAD_PART_BYTES = S3_SMALLEST_PART
    parts = {"UPLOAD_PART_BYTES": str(S3_SMALLEST_PART)}
    with RealProcesses(tmp_path, alice, FAILPOINT=point, **parts) as runner:
        run_until_crash(
            name, point, Harness(runner, InProcess(session_cookies(alice)), bucket, part_bytes=S3_SMALLEST_PART)
        )


@pytest.mark.faults
@pytest.mark.parametrize("name", UPLOADS)
def test_crash_at_failpoint_with_checksums_loses_nothing(
    name: str, digest_fork_server: ForkServer, digest_bucket: Bucket, owned: None, alice: User, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = S3_SMALLEST_PART
    fallback = InProcess(session_cookies(alice))
    for point in SCENARIOS[name].points:
        runner = ForkedRunner(digest_fork_server, alice, point)
        run_until_crash(name, point, Harness(runner, fallback, digest_bucket, part_bytes=S3_SMALLEST_PART))
