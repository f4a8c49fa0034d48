"""The tasks of deploy/aws with exactly their variables, the function that runs the release, and the scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.aws_template import PATH, Template, plain
from tests.support.http_servers import serve_in_thread
from uploads.services import metrics

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
PARAMETERS = {"Domain": "files.example.org", "HostedZoneId": "Z", "Image": "image", "ContentKey1": "PEM"}
ADDRESSES = {
    ("Database", "Endpoint.Address"): "amalga.abc.eu-central-1.rds.amazonaws.com",
    ("Replica", "Endpoint.Address"): "replica.abc.eu-central-1.rds.amazonaws.com",
    ("Content", "DomainName"): "d111111abcdef8.cloudfront.net",
    ("ContentPublicKey1", ""): "K2JCJMDEHXQW5F",
}


def private_key() -> str:
    form = serialization.PrivateFormat.PKCS8
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def variables(task: str) -> dict[str, str]:
    """Return the environment of the task; secrets have their initial values."""
    resources = Template().resolved(lambda *key: ADDRESSES.get(key, plain(*key)), **PARAMETERS, ReadReplica="on")
    (container,) = (item for item in resources[task]["Properties"]["ContainerDefinitions"] if item["Name"] == "app")
    secrets = {
        "SECRET_KEY": "0123456789abcdefghij" * 4,
        "DATABASE_USER": "amalga",
        "DATABASE_PASSWORD": "d$rawn:by/RDS",
        "CLOUDFRONT_PRIVATE_KEY": private_key(),
    }
    values = {it["Name"]: it["Value"] for it in container["Environment"]}
    values |= {it["Name"]: secrets.get(it["Name"], "") for it in container["Secrets"]}
    return values | {"DATABASE_CA": certifi.where()}  # the image has those of Amazon


@pytest.mark.parametrize("task", ["WebTask", "WorkerTask", "ReleaseTask"])
def test_task_starts_with_its_variables(task: str) -> None:
    env = {"PATH": os.environ["PATH"], **variables(task)}
    command = [sys.executable, "-W", "error", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_variable_of_a_task_is_documented() -> None:
    known = (PROJECT / "docs" / "configuration.md").read_text()
    names = {name for task in ("WebTask", "WorkerTask", "ReleaseTask", "SweeperTask") for name in variables(task)}
    assert {name for name in names if f"`{name}`" not in known} == set()


@pytest.mark.django_db
def test_alarms_read_the_metric_that_the_worker_writes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        metrics.log_queue()
    (fields,) = (record.__dict__["fields"] for record in caplog.records if "fields" in record.__dict__)
    (directive,) = fields["_aws"]["CloudWatchMetrics"]
    written = {metric["Name"] for metric in directive["Metrics"]}
    alarms = [it["Properties"] for it in Template().resolved(**PARAMETERS).values() if it["Type"].endswith("::Alarm")]
    read = [its for its in alarms if its["Namespace"] == directive["Namespace"]]
    assert len(read) == 3
    assert {its["MetricName"] for its in read} <= written
    assert all([dimension["Name"] for dimension in its["Dimensions"]] in directive["Dimensions"] for its in read)


# --- the release ------------------------------------------------------------------------------


class Ecs:
    """A fake of ECS, whose task exits with `code` after a few calls."""

    def __init__(self, code: int | None, *, questions: int = 2) -> None:
        self.code, self.left, self.ran = code, questions, []  # type: ignore[var-annotated]

    def run_task(self, **arguments: Any) -> dict[str, Any]:
        self.ran.append(arguments)
        return {"tasks": [{"taskArn": "arn:task"}], "failures": []}

    def describe_tasks(self, **_arguments: Any) -> dict[str, Any]:
        self.left -= 1
        container = {} if self.code is None else {"exitCode": self.code}
        status = "RUNNING" if self.left > 0 else "STOPPED"
        return {"tasks": [{"lastStatus": status, "containers": [container], "stoppedReason": "Essential container"}]}


class Called:
    function_name = "amalga-release"

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@pytest.fixture
def cloudformation() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the URL where CloudFormation waits for a response, and the responses that it received."""
    responses: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            responses.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    with serve_in_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/", responses


def event(kind: str, url: str) -> dict[str, Any]:
    properties = Template().resolved(**PARAMETERS)["Release"]["Properties"]
    same = {"StackId": "s", "RequestId": "r", "LogicalResourceId": "Release"}
    return {"RequestType": kind, "ResponseURL": url, "ResourceProperties": properties, **same}


def runner(monkeypatch: pytest.MonkeyPatch, clients: dict[str, Any]) -> Any:
    """Return the handler in the template, with these clients in place of boto3's."""
    import boto3

    monkeypatch.setattr(boto3, "client", lambda name: clients[name])
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    code = Template().resolved(**PARAMETERS)["ReleaseRunner"]["Properties"]["Code"]["ZipFile"]
    assert len(code) <= 4096  # the limit of CloudFormation for code in a template
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    return names["handler"]


@pytest.mark.parametrize(("code", "status"), [(0, "SUCCESS"), (1, "FAILED"), (None, "FAILED")])
def test_stack_gets_the_result_of_the_release(
    monkeypatch: pytest.MonkeyPatch, cloudformation: Any, code: int | None, status: str
) -> None:
    url, responses = cloudformation
    ecs = Ecs(code)
    runner(monkeypatch, {"ecs": ecs})(event("Update", url), Called(800_000))
    assert [(it["Status"], it["PhysicalResourceId"]) for it in responses] == [(status, "release")]
    (ran,) = ecs.ran
    assert ran["taskDefinition"] == "releasetask"
    assert ran["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"


def test_long_release_continues_in_a_second_call(monkeypatch: pytest.MonkeyPatch, cloudformation: Any) -> None:
    url, responses = cloudformation
    ecs, handed_on = Ecs(0, questions=1), []

    class Lambda:
        def invoke(self, **arguments: Any) -> None:
            handed_on.append(json.loads(arguments["Payload"]))

    handler = runner(monkeypatch, {"ecs": ecs, "lambda": Lambda()})
    handler(event("Create", url), Called(10_000))
    assert (responses, len(handed_on)) == ([], 1)
    handler(handed_on[0], Called(800_000))
    assert [it["Status"] for it in responses] == ["SUCCESS"]
    assert len(ecs.ran) == 1


def test_deleting_the_stack_runs_no_release(monkeypatch: pytest.MonkeyPatch, cloudformation: Any) -> None:
    url, responses = cloudformation
    runner(monkeypatch, {})(event("Delete", url), Called(800_000))
    assert [it["Status"] for it in responses] == ["SUCCESS"]


def test_release_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch, cloudformation: Any) -> None:
    url, responses = cloudformation
    ecs = Ecs(0)
    monkeypatch.setattr(ecs, "run_task", lambda **_: {"tasks": [], "failures": [{"reason": "RESOURCE:FARGATE"}]})
    runner(monkeypatch, {"ecs": ecs})(event("Create", url), Called(800_000))
    assert responses[0]["Status"] == "FAILED"
    assert "RESOURCE:FARGATE" in responses[0]["Reason"]


# --- the scripts ------------------------------------------------------------------------------

AWS = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in
    *"Parameters[?ParameterKey!='Image']"*) printf 'Domain\\tContentKey1\\n' ;;
    *wait*) exit "${WAITED:-0}" ;;
    *lastStatus*) echo STOPPED ;;
    *exitCode*) echo "${CODE:-0}" ;;
    *get-caller-identity*) echo 123456789012 ;;
    *head-bucket*"--expected-bucket-owner 123456789012"*) exit "${FOREIGN:-0}" ;;
    *"s3 mb"*) exit "${FOREIGN:-0}" ;;
    *KeySecret2*) echo arn:secret:2 ;;
    *) echo "" ;;
esac
"""


def script(folder: Path, name: str, *arguments: str, **more: str) -> tuple[int, str]:
    """Run a script with a fake AWS CLI; return its exit status and the recorded calls."""
    fake = folder / "aws"
    fake.write_text(AWS)
    fake.chmod(0o755)
    env = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "AWS_REGION": "eu-central-1",
        **more,
    }
    done = subprocess.run(
        [PATH.with_name(name), *arguments], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, (folder / "calls").read_text()


def test_rollout_changes_only_the_image(tmp_path: Path) -> None:
    status, calls = script(tmp_path, "roll.sh", "registry/amalga@sha256:1")
    assert status == 0
    (update,) = (line for line in calls.splitlines() if "update-stack" in line)
    assert "--use-previous-template" in update
    assert "ParameterKey=Image,ParameterValue=registry/amalga@sha256:1" in update
    for name in ("Domain", "ContentKey1"):
        assert f"ParameterKey={name},UsePreviousValue=true" in update


def test_failed_rollout_exits_with_1(tmp_path: Path) -> None:
    assert script(tmp_path, "roll.sh", "image", WAITED="255")[0] == 1


def test_run_script_passes_the_arguments_and_the_exit_code(tmp_path: Path) -> None:
    status, calls = script(tmp_path, "run.sh", "--as", "examiner", "fsck", "--storage", 'a "b"', CODE="1")
    assert status == 1
    (ran,) = (line for line in calls.splitlines() if "run-task" in line)
    assert "--task-definition amalga-examiner" in ran
    overrides = json.loads(ran.partition("--overrides ")[2].partition(" --query")[0])
    assert overrides["containerOverrides"][0]["command"] == ["python", "manage.py", "fsck", "--storage", 'a "b"']


def test_new_key_is_distributed_before_use_and_stored_in_the_secret(tmp_path: Path) -> None:
    status, calls = script(tmp_path, "new-key.sh", "2", "--sign")
    assert status == 0
    assert "put-secret-value --secret-id arn:secret:2 --secret-string file://" in calls
    assert "ContentSigner=2" in calls
    assert "ContentKey2=-----BEGIN PUBLIC KEY-----" in calls
    assert "PRIVATE KEY" not in calls


def test_parameters_reach_the_stack(tmp_path: Path) -> None:
    status, calls = script(tmp_path, "stack.sh", "Domain=files.example.org", "AlarmEmail=a b")
    assert status == 0
    assert "--parameter-overrides Domain=files.example.org AlarmEmail=a b" in calls
    assert "--s3-bucket amalga-templates-123456789012-eu-central-1" in calls


def test_template_is_not_uploaded_to_a_foreign_bucket(tmp_path: Path) -> None:
    """Another account took the bucket name first and gives us access."""
    status, calls = script(tmp_path, "stack.sh", "Domain=files.example.org", FOREIGN="1")
    assert status == 1
    assert "cloudformation" not in calls


def test_retained_bucket_is_imported_under_its_logical_id(tmp_path: Path) -> None:
    status, calls = script(tmp_path, "take-over.sh", "left-behind")
    assert status == 0
    (call,) = (line for line in calls.splitlines() if "create-change-set" in line)
    resources, _, remaining = call.partition("--resources-to-import ")[2].partition(" --template-body ")
    (resource,) = json.loads(resources)
    mini = json.loads(remaining.partition(" --query")[0])["Resources"]
    whole = Template().resolved(**PARAMETERS)[resource["LogicalResourceId"]]
    assert resource["ResourceIdentifier"] == {"BucketName": "left-behind"}
    assert {name: whole[name] for name in mini["Bucket"]} == mini["Bucket"]
