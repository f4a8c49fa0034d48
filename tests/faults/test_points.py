"""Whoever dies at a fault point loses nothing: the client asks again, two sweeps come, and bucket and rows agree."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from tests.conftest import PROJECT
from tests.faults import scenarios
from tests.faults.conftest import PART_BYTES
from tests.faults.here import Here
from tests.faults.mortals import Child, Player, cookies_of
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage
from tests.stores import Bucket

pytestmark = pytest.mark.django_db(transaction=True)

S3_SMALLEST_PART = 5 * 1024**2
CASES = [(name, point) for name, scenario in SCENARIOS.items() for point in scenario.points]


def points_in_the_source() -> list[str]:
    texts = (path.read_text() for path in sorted((PROJECT / "uploads").rglob("*.py")))
    return [point for text in texts for point in re.findall(r"\breached\((.*)\)", text) if "point: str" not in point]


def test_every_fault_point_has_a_scenario_and_every_scenario_a_point() -> None:
    found = points_in_the_source()
    assert all(re.fullmatch(r'"[a-z-]+\.\d-[a-z-]+"', point) for point in found)
    assert [point for point, count in Counter(found).items() if count > 1] == []
    assert {point.strip('"') for point in found} == {point for _name, point in CASES}


@pytest.mark.parametrize("name", SCENARIOS)
def test_whoever_dies_there_loses_nothing(
    name: str, player: Player, alice: User, bucket: Bucket, neighbour: None, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = PART_BYTES
    spare = Here(cookies_of(alice))
    for point in SCENARIOS[name].points:
        stage = Stage(Child(player, alice, point), spare, bucket, part_bytes=PART_BYTES)
        try:
            scenarios.run(name, stage)
        except BaseException as fault:
            fault.add_note(f"died at {point}")
            raise
