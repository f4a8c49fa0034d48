"""The template of deploy/aws: valid, private, encrypted, and consistent with the code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import load_command_class

from tests.support import debian
from tests.support.aws_template import PATH, Template
from uploads.s3.signing import DOWNLOAD_SECONDS

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / ".venv-deploy" / "bin"
FULL = {"Domain": "files.example.org", "HostedZoneId": "Z1", "Image": "image", "ContentKey1": "PEM"}
SUBNET_ROUTES = "AWS::EC2::SubnetRouteTableAssociation"
TASKS = ("WebTask", "WorkerTask", "SweeperTask", "ExaminerTask", "ReleaseTask")
ENDS = ("FromPort", "ToPort")
RDS, AURORA = {**FULL, "ReadReplica": "on"}, {**FULL, "ReadReplica": "on", "DatabaseEngine": "aurora"}


@pytest.fixture(scope="module")
def template() -> Template:
    return Template()


def container(resources: dict[str, Any], task: str) -> dict[str, Any]:
    """Return our container; the web task also has the proxy and a container that writes its configuration."""
    (definition,) = (item for item in resources[task]["Properties"]["ContainerDefinitions"] if item["Name"] == "app")
    return dict(definition)


def of_type(resources: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: it.get("Properties", {}) for name, it in resources.items() if it["Type"] == kind}


def test_cfn_lint_finds_nothing() -> None:
    result = subprocess.run([TOOLS / "cfn-lint", PATH], capture_output=True, text=True, timeout=100, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    scripts = sorted(PATH.parent.glob("*.sh"))
    assert scripts
    result = subprocess.run([TOOLS / "shellcheck", *scripts], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "")


# --- resources --------------------------------------------------------------------------------


def test_without_an_image_nothing_runs(template: Template) -> None:
    resources = template.resolved(Domain="files.example.org", HostedZoneId="Z1")
    running = ("AWS::ECS::Service", "AWS::ECS::TaskDefinition", "AWS::Scheduler::Schedule", "Custom::Release")
    assert not [name for name, it in resources.items() if it["Type"] in running]
    assert {"Registry", "Database", "Bucket", "Balancer"} <= set(resources)


@pytest.mark.parametrize("with_a_login", [RDS, AURORA])
def test_services_and_schedules_wait_for_the_release(template: Template, with_a_login: dict[str, str]) -> None:
    resources = template.resolved(**with_a_login)
    for kind in ("AWS::ECS::Service", "AWS::Scheduler::Schedule"):
        for name in of_type(resources, kind):
            assert "Release" in str(resources[name]["DependsOn"]), name
    release = resources["Release"]["Properties"]
    assert release["TaskDefinition"] == "releasetask"
    assert release["Database"] in {"database", "aurorawriter"}


def test_resources_with_data_outlive_the_stack(template: Template) -> None:
    """`Settings` too: two-factor authentication in the database does not work with another SECRET_KEY."""
    policies = {"Bucket": "Retain", "Database": "Snapshot", "Aurora": "Snapshot", "Settings": "Retain"}
    for parameters in (RDS, AURORA):
        resources = template.resolved(**parameters)
        for name in policies.keys() & resources.keys():
            assert (resources[name]["DeletionPolicy"], resources[name]["UpdateReplacePolicy"]) == (
                policies[name],
                policies[name],
            )


def test_restore_page_has_the_sweep_interval(template: Template) -> None:
    """A restored database is not recognized as old if it lacks only events after the last checkpoint."""
    every = template.resolved(**FULL)["Sweep"]["Properties"]["ScheduleExpression"]
    page = " ".join((PROJECT / "docs" / "operate" / "backup-and-restore.md").read_text().split())
    assert f"On AWS a sweep begins every {every.removeprefix('rate(').removesuffix(')')}" in page


# --- the database -----------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [FULL, AURORA])
def test_database_is_private_encrypted_and_has_a_generated_password(
    template: Template, parameters: dict[str, str]
) -> None:
    resources = template.resolved(**parameters)
    main = resources.get("Database") or resources["Aurora"]
    its = main["Properties"]
    for setting in (
        "StorageEncrypted",
        "ManageMasterUserPassword",
        "EnableIAMDatabaseAuthentication",
        "DeletionProtection",
    ):
        assert its[setting] is True, setting
    assert "MasterUserPassword" not in its
    assert its["BackupRetentionPeriod"] == 35
    for name, instance in of_type(resources, "AWS::RDS::DBInstance").items():
        assert instance["PubliclyAccessible"] is False, name
    group = resources.get("DatabaseParameters") or resources["AuroraParameters"]
    assert group["Properties"]["Parameters"]["rds.force_ssl"] == "1"


def test_password_is_generated_by_the_template_with_a_replica(template: Template) -> None:
    """RDS creates no replica of an instance whose password it manages (RDS user guide, "Limitations for Secrets Manager
    integration"); this does not apply to Aurora."""
    resources = template.resolved(**RDS)
    its = resources["Database"]["Properties"]
    assert its["ManageMasterUserPassword"] is False
    assert its["MasterUserPassword"].startswith("{{resolve:secretsmanager:")
    secrets = {it["Name"]: it["ValueFrom"] for it in container(resources, "ReleaseTask")["Secrets"]}
    assert secrets["DATABASE_PASSWORD"].endswith(":secret:OwnerSecret:password::")
    assert "OwnerSecret" not in template.resolved(**AURORA)


def test_database_runs_in_two_zones(template: Template) -> None:
    assert template.resolved(**RDS)["Database"]["Properties"]["MultiAZ"] is True
    assert {"AuroraWriter", "AuroraReader"} <= set(template.resolved(**AURORA))
    alone = template.resolved(**FULL, DatabaseStandby="off")
    assert alone["Database"]["Properties"]["MultiAZ"] is False


def test_storage_grows_by_itself_and_is_watched(template: Template) -> None:
    resources = template.resolved(**RDS)
    assert int(resources["Database"]["Properties"]["MaxAllocatedStorage"]) > int(
        resources["Database"]["Properties"]["AllocatedStorage"]
    )
    watched = {its["MetricName"] for its in of_type(resources, "AWS::CloudWatch::Alarm").values()}
    assert {"FreeStorageSpace", "BurstBalance", "EBSIOBalance%", "EBSByteBalance%", "CPUCreditBalance", "ReplicaLag",
            "QueueOldestSeconds", "HTTPCode_Target_5XX_Count"} <= watched  # fmt: skip


# --- delivery ---------------------------------------------------------------------------------


def test_content_requires_a_signature_and_cloudfront(template: Template) -> None:
    resources = template.resolved(**FULL)
    config = resources["Content"]["Properties"]["DistributionConfig"]
    behavior = config["DefaultCacheBehavior"]
    assert behavior["TrustedKeyGroups"] == ["contentkeys"]
    assert behavior["ViewerProtocolPolicy"] == "https-only"
    assert behavior["AllowedMethods"] == ["GET", "HEAD"]
    assert "CacheBehaviors" not in config
    (origin,) = config["Origins"]
    assert origin["OriginAccessControlId"] == "contentaccess.Id"
    allowed = [
        statement
        for statement in resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert [statement["Principal"] for statement in allowed] == [{"Service": "cloudfront.amazonaws.com"}]
    assert allowed[0]["Condition"]["StringEquals"]["AWS:SourceArn"].endswith("distribution/content")


def test_cloudfront_caches_files_no_longer_than_signatures_last(template: Template) -> None:
    its = template.resolved(**FULL)["ContentCaching"]["Properties"]["CachePolicyConfig"]
    assert (its["MinTTL"], its["DefaultTTL"]) == (0, 0)
    assert its["MaxTTL"] <= DOWNLOAD_SECONDS


def test_cloudfront_keys_can_be_rotated(template: Template) -> None:
    both = template.resolved(**FULL, ContentKey2="OTHER", ContentSigner="2")
    assert both["ContentKeys"]["Properties"]["KeyGroupConfig"]["Items"] == ["contentpublickey1", "contentpublickey2"]
    web = container(both, "WebTask")
    assert {"Name": "CLOUDFRONT_KEY_ID", "Value": "contentpublickey2"} in web["Environment"]
    (key,) = (it["ValueFrom"] for it in web["Secrets"] if it["Name"] == "CLOUDFRONT_PRIVATE_KEY")
    assert key.endswith("ContentSecret2")
    alone = template.resolved(**{**FULL, "ContentKey1": "", "ContentKey2": "OTHER", "ContentSigner": "2"})
    assert alone["ContentKeys"]["Properties"]["KeyGroupConfig"]["Items"] == ["contentpublickey2"]


# --- tasks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_tasks_are_read_only_and_get_only_their_secrets(template: Template, task: str) -> None:
    definition = container(template.resolved(**RDS, CacheType="cache.t4g.micro"), task)
    assert definition["ReadonlyRootFilesystem"] is True
    assert "/tmp" in {mount["ContainerPath"] for mount in definition["MountPoints"]}  # noqa: S108
    names, secret = {it["Name"] for it in definition["Environment"]}, {it["Name"] for it in definition["Secrets"]}
    assert not {name for name in names | secret if name.startswith("AWS_") and "KEY" in name}
    assert not {name for name in names if any(word in name for word in ("SECRET", "PASSWORD", "TOKEN", "PRIVATE"))}
    assert ("DATABASE_PASSWORD" in secret) == (task == "ReleaseTask")
    assert ("CLOUDFRONT_PRIVATE_KEY" in secret) == (task == "WebTask")


def test_web_server_is_reached_through_its_proxy_alone(template: Template) -> None:
    resources = template.resolved(**FULL)
    web = container(resources, "WebTask")
    assert "PortMappings" not in web
    environment = {it["Name"]: it["Value"] for it in web["Environment"]}
    assert (environment["GUNICORN_CMD_ARGS"], environment["PROBE_BIND"]) == ("--bind=127.0.0.1:8000", "127.0.0.1:8001")
    (balanced,) = resources["Web"]["Properties"]["LoadBalancers"]
    assert (balanced["ContainerName"], balanced["ContainerPort"]) == ("proxy", 8080)
    ports = {resources[name]["Properties"][side] for name in ("BalancerToWeb", "WebFromBalancer") for side in ENDS}
    assert {resources["WebTargets"]["Properties"]["Port"], *ports} == {8080}


def test_proxy_image_is_the_same_as_in_compose(template: Template) -> None:
    image = beside(template.resolved(**FULL), "proxy")["Image"]
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]["proxy"]["image"]
    assert image == f"public.ecr.aws/docker/library/{compose}"


def test_nginx_accepts_the_configuration_of_the_proxy(template: Template, tmp_path: Path) -> None:
    resources = template.resolved(**FULL)
    (_shell, _flags, script) = beside(resources, "proxy-configuration")["Command"]
    subprocess.run(["sh", "-ec", script.replace("/proxy", str(tmp_path))], cwd=PROJECT, check=True, timeout=30)
    command = [word.replace("/proxy", str(tmp_path)) for word in beside(resources, "proxy")["Command"]]
    assert command[:2] == ["-c", f"{tmp_path}/nginx.conf"]
    nginx = debian.find("nginx")
    assert nginx
    done = subprocess.run([nginx, "-t", *command[:2]], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def beside(resources: dict[str, Any], name: str) -> dict[str, Any]:
    """Return another container of the web task."""
    (definition,) = (
        item for item in resources["WebTask"]["Properties"]["ContainerDefinitions"] if item["Name"] == name
    )
    return dict(definition)


def test_every_secret_of_a_task_exists(template: Template) -> None:
    """A task does not start if a secret lacks one of its keys."""
    resources = template.resolved(**FULL)
    for secret in ("Settings", "MailSettings"):
        generated = resources[secret]["Properties"]["GenerateSecretString"]
        keys = set(json.loads(generated["SecretStringTemplate"])) | {generated["GenerateStringKey"]}
        references = {
            it["ValueFrom"].split(":")[-3]
            for task in TASKS
            for it in container(resources, task)["Secrets"]
            if f":secret:{secret}:" in it["ValueFrom"]
        }
        assert references == keys - {"unused"}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_the_settings_of_mail_and_the_malware_check(template: Template, task: str) -> None:
    """Each can notify people, and mark or check files."""
    resources = template.resolved(**FULL, MalwareScan="all")
    environment = {it["Name"]: it["Value"] for it in container(resources, task)["Environment"]}
    assert (environment["MALWARE_SCAN"], environment["MALWARE_SCANNER"]) == ("all", "guardduty")
    names = {it["Name"] for it in container(resources, task)["Secrets"]}
    assert {"EMAIL_URL", "DEFAULT_FROM_EMAIL"} <= names


def test_tasks_have_no_public_ip_and_data_subnets_no_internet(template: Template) -> None:
    resources = template.resolved(**FULL)
    configurations = [its["NetworkConfiguration"] for its in of_type(resources, "AWS::ECS::Service").values()]
    scheduled = of_type(resources, "AWS::Scheduler::Schedule").values()
    configurations += [its["Target"]["EcsParameters"]["NetworkConfiguration"] for its in scheduled]
    for network in configurations:
        its = network["AwsvpcConfiguration"]
        assert (its["AssignPublicIp"], its["Subnets"]) == ("DISABLED", ["tasksa", "tasksb"])
    tables = {its["SubnetId"]: its["RouteTableId"] for its in of_type(resources, SUBNET_ROUTES).values()}
    outward = {its["RouteTableId"] for its in of_type(resources, "AWS::EC2::Route").values()}
    assert {subnet for subnet, table in tables.items() if table not in outward} == {"dataa", "datab"}


def test_failed_deployment_is_rolled_back(template: Template) -> None:
    for name, its in of_type(template.resolved(**FULL), "AWS::ECS::Service").items():
        how = its["DeploymentConfiguration"]
        assert how["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}, name
        assert (how["MinimumHealthyPercent"], how["MaximumPercent"]) == (100, 200), name
        assert its["EnableExecuteCommand"] is True, name
        assert "DesiredCount" not in its, name  # autoscaling sets it


def test_commands_of_tasks_exist_and_have_valid_arguments(template: Template) -> None:
    resources = template.resolved(**FULL)
    commands = [container(resources, task)["Command"] for task in ("WorkerTask", "SweeperTask", "ExaminerTask")]
    for its in of_type(resources, "AWS::Scheduler::Schedule").values():
        (override,) = json.loads(its["Target"]["Input"])["containerOverrides"]
        commands.append(override["command"])
    commands += [line.split() for line in container(resources, "ReleaseTask")["Command"][2].split(" && ")]
    names = set()
    for python, manage, name, *arguments in commands:
        assert (python, manage) == ("python", "manage.py")
        load_command_class("uploads", name).create_parser("manage.py", name).parse_args(arguments)
        names.add(name)
    assert {"sweep", "fsck", "verify", "export_manifest", "worker", "migrate", "provision"} <= names


def test_timeouts_match_the_timeouts_page(template: Template) -> None:
    """docs/operate/timeouts.md has the values for a platform."""
    page = (PROJECT / "docs" / "operate" / "timeouts.md").read_text()

    def documented_seconds(what: str) -> str:
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {what} |"))
        return row.split("|")[2].strip().removesuffix(" s")

    resources = template.resolved(**FULL)
    balancer = {it["Key"]: it["Value"] for it in resources["Balancer"]["Properties"]["LoadBalancerAttributes"]}
    targets = {it["Key"]: it["Value"] for it in resources["WebTargets"]["Properties"]["TargetGroupAttributes"]}
    assert balancer["idle_timeout.timeout_seconds"] == documented_seconds("load balancer: idle")
    assert targets["deregistration_delay.timeout_seconds"] == documented_seconds("load balancer: deregistration delay")
    assert str(container(resources, "WebTask")["StopTimeout"]) == documented_seconds(
        "platform: kill of the web process"
    )
    assert str(container(resources, "WorkerTask")["StopTimeout"]) == documented_seconds("platform: kill of the worker")
