"""The page about costs is current, and its sizes are valid for the template."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.support.aws_template import PATH, Template

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def costs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("costs", PATH.with_name("costs.py"))
    assert spec
    assert spec.loader
    module = sys.modules["costs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_costs_page_is_current(costs: ModuleType) -> None:
    assert PATH.with_name("costs.md").read_text() == costs.page(), "python deploy/aws/costs.py > deploy/aws/costs.md"


def test_every_price_says_where_it_comes_from(costs: ModuleType) -> None:
    assert not [
        name for name, price in costs.PRICES.items() if not price["source"].startswith(("documented: ", "remembered"))
    ]


def test_every_size_is_valid_for_the_template(costs: ModuleType) -> None:
    template = Template()
    for size in costs.SIZES:
        parameters = size.parameters()
        template.resolved(Domain="files.example.org", HostedZoneId="Z", Image="image", ContentKey1="PEM", **parameters)
        for name, value in parameters.items():
            allowed = template.document["Parameters"][name].get("AllowedValues")
            assert allowed is None or value in map(str, allowed), name
        assert int(parameters["DatabaseMaxStorage"]) > 1.1 * size.storage, "RDS requires a 10 % higher maximum"
        assert size.memory in range(2 * size.cpu, 8 * size.cpu + 1, 1024), "Fargate's limits for this number of CPUs"


def test_template_defaults_are_the_team_size(costs: ModuleType) -> None:
    (team,) = (size for size in costs.SIZES if size.name == "team")
    parameters = Template().document["Parameters"]
    assert {name: str(parameters[name]["Default"]) for name in team.parameters()} == team.parameters()


def test_every_size_has_enough_database_connections(costs: ModuleType) -> None:
    for size in costs.SIZES:
        capacity = costs.capacity(size)
        assert capacity["connections used"] <= 0.9 * capacity["connections available"], size.name


def test_counted_resources_match_the_template(costs: ModuleType) -> None:
    parameters = {"Domain": "files.example.org", "HostedZoneId": "Z", "Image": "image", "ContentKey1": "PEM"}
    resources = Template().resolved(**parameters, ReadReplica="on")
    kinds = [it["Type"] for it in resources.values()]
    assert kinds.count("AWS::CloudWatch::Alarm") + 4 == costs.ALARMS
    assert kinds.count("AWS::SecretsManager::Secret") == costs.SECRETS  # without a replica RDS makes one of them
    (web,) = (item for item in resources["WebTask"]["Properties"]["ContainerDefinitions"] if item["Name"] == "app")
    environment: dict[str, Any] = {it["Name"]: it["Value"] for it in web["Environment"]}
    assert (int(environment["WEB_CONCURRENCY"]), int(environment["DATABASE_CONNECTIONS"])) == (
        costs.PROCESSES,
        costs.CONNECTIONS,
    )
    assert resources["Sweep"]["Properties"]["ScheduleExpression"] == "rate(5 minutes)"
