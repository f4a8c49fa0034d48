"""The workflow: valid, without stored keys, with a rollback; and the scripts that it calls."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from amalga.local.processes import free_port
from tests.code.test_architecture import tracked
from tests.deploy.test_image import answering
from tests.support.dockerfile import instructions

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / ".venv-deploy" / "bin"
WORKFLOW = PROJECT / ".github" / "workflows" / "main.yml"
TEXT = WORKFLOW.read_text()
SCRIPTS = sorted(path.relative_to(PROJECT).as_posix() for path in tracked() if path.suffix == ".sh")


def workflow() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(TEXT)
    return read


def steps() -> Iterator[dict[str, Any]]:
    for job in workflow()["jobs"].values():
        yield from job["steps"]


def tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(TOOLS / words[0]), *map(str, words[1:])]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=120)


def smoke(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "deploy" / "smoke.py"), url, "0"]
    return subprocess.run(command, capture_output=True, text=True, env={}, timeout=100)


# --- the files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "name"),
    [("vendor.github-workflows", ".github/workflows/main.yml"), ("vendor.dependabot", ".github/dependabot.yml")],
)
def test_github_configuration_is_valid(schema: str, name: str) -> None:
    done = tool("check-jsonschema", "--builtin-schema", schema, name)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing() -> None:
    done = tool("zizmor", "--offline", "--pedantic", ".github")
    assert (done.returncode, "No findings" in done.stdout) == (0, True), done.stdout


def test_actions_are_pinned_to_a_commit() -> None:
    used = re.findall(r"uses: (\S+)(.*)", TEXT)
    assert used
    assert not [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action[0])]
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", version) for _, version in used)


@pytest.mark.parametrize("run", [step["run"] for step in steps() if "run" in step])
def test_shellcheck_finds_nothing_in_a_step(run: str, tmp_path: Path) -> None:
    assert "${{" not in run  # the shell would run the text that GitHub inserts
    script = tmp_path / "step.sh"
    script.write_text(run)
    done = tool("shellcheck", "--shell=bash", script)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing_in_a_script(name: str) -> None:
    done = tool("shellcheck", name)
    assert done.returncode == 0, done.stdout
    assert (PROJECT / name).stat().st_mode & 0o111


# --- jobs -------------------------------------------------------------------------------------


def test_workflow_uses_no_stored_keys() -> None:
    assert not re.search(r"secrets\.|access-key|password", TEXT, re.IGNORECASE)
    assert [name for name, job in workflow()["jobs"].items() if "id-token" in job.get("permissions", {})] == ["deploy"]
    assert workflow()["permissions"] == {"contents": "read"}


def test_only_tested_commits_on_main_are_deployed() -> None:
    jobs = workflow()["jobs"]
    assert set(jobs["deploy"]["needs"]) == set(jobs) - {"deploy"}
    assert "github.event_name == 'push'" in jobs["deploy"]["if"]
    assert re.search(r"^on:\n  push:\n    branches: \[main\]\n", TEXT, re.MULTILINE)
    assert jobs["deploy"]["environment"]["name"] == "production"


def test_failed_deployment_is_rolled_back() -> None:
    done = [step.get("run", "") for step in workflow()["jobs"]["deploy"]["steps"]]
    order = [next(place for place, run in enumerate(done) if word in run)
             for word in ("BEFORE=", "push.sh", 'roll.sh "$IMAGE"', "smoke.py", 'roll.sh "$BEFORE"')]  # fmt: skip
    assert order == sorted(order)
    assert "failure()" in workflow()["jobs"]["deploy"]["steps"][order[-1]]["if"]


def test_called_scripts_and_targets_exist() -> None:
    for run in (step["run"] for step in steps() if "run" in step):
        for name in re.findall(r"deploy/\S+\.(?:sh|py)", run):
            assert (PROJECT / name).is_file(), name
        for target in re.findall(r"^make (\S+)", run, re.MULTILINE):
            assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), re.MULTILINE), target


def test_python_version_of_the_image_is_tested() -> None:
    base = next(
        instruction.text
        for instruction in instructions((PROJECT / "Dockerfile").read_text())
        if "PYTHON_IMAGE=" in instruction.text
    )
    version = re.search(r"python:(3\.\d+)", base)
    assert version
    assert version[1] in workflow()["jobs"]["test"]["strategy"]["matrix"]["python"]


def test_jobs_have_timeouts() -> None:
    assert all(job["timeout-minutes"] <= 60 for job in workflow()["jobs"].values())


# --- smoke test -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_healthy_site_passes_the_smoke_test(site: str) -> None:
    done = smoke(site)
    assert done.returncode == 0, done.stderr
    assert '"database": "ok"' in done.stdout


@pytest.mark.parametrize("status", [404, 500, 503])
def test_unhealthy_site_is_reported(status: int) -> None:
    with answering(status) as port:
        done = smoke(f"http://localhost:{port}/")
    assert (done.returncode, done.stderr.strip()) == (1, f"http://localhost:{port}/healthz responded with {status}")


def test_foreign_page_is_reported() -> None:
    with answering(200, b"<h1>It works!</h1>") as port:
        done = smoke(f"http://localhost:{port}")
    assert (done.returncode, "login/ responded without csrfmiddlewaretoken" in done.stderr) == (1, True)


def test_page_without_styles_is_reported() -> None:
    with answering(200, b"<input name=csrfmiddlewaretoken>") as port:
        done = smoke(f"http://localhost:{port}")
    assert (done.returncode, "has no stylesheet" in done.stderr) == (1, True)


def test_unreachable_site_is_reported_in_one_line() -> None:
    done = smoke(f"http://localhost:{free_port()}")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
