"""The stack of deploy/aws, created in moto: bucket settings, network access, database and load balancer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from tests.support import stores
from tests.support.aws_moto import DOMAIN, Account, account, set_bucket_up
from tests.support.aws_template import REGION, Template
from tests.support.commands import run_command
from uploads import s3
from uploads.s3.bucket_config import BUCKET_SETTINGS, SettingStatus, compare_setting
from uploads.services import provision
from uploads.services.doctor import Level
from uploads.services.doctor.bucket import check_setting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with account(tmp_path_factory.mktemp("aws")) as stack:
        yield stack


@pytest.fixture
def at_aws(aws: Account, settings: Settings, monkeypatch: pytest.MonkeyPatch, db: None) -> Iterator[Account]:
    """Configure the app for the bucket of the stack, like its tasks, but over plain HTTP."""
    monkeypatch.setattr(provision, "uses_tls", lambda: True)
    settings.S3_ENDPOINT = settings.S3_ORIGIN = aws.endpoint
    settings.S3_BUCKET, settings.S3_REGION, settings.S3_CHECKSUMS = aws.bucket, REGION, "sha256"
    settings.ALLOWED_HOSTS, settings.CSRF_TRUSTED_ORIGINS, settings.HTTPS = [DOMAIN], [], True
    s3.reset()
    yield aws
    s3.reset()


@pytest.fixture
def created(fresh: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> stores.Bucket:
    """The bucket of the stack, in storage that also stores objects."""
    monkeypatch.setattr(provision, "uses_tls", lambda: True)
    fresh.client.create_bucket(Bucket=fresh.name)
    set_bucket_up(fresh.client, fresh.name, Domain=DOMAIN, HostedZoneId="Z", ContentKey1="PEM")
    return fresh


def run_provision(*arguments: str) -> tuple[int, dict[str, str]]:
    """Return the exit status and the status of each setting."""
    status, output, _errors = run_command("provision", "--json", *arguments)
    return status, {setting["subject"]: setting["status"] for setting in json.loads(output)["settings"]}


def test_provision_only_marks_the_bucket(created: stores.Bucket) -> None:
    status, output = run_provision()
    assert status == 1
    assert {name for name, standing in output.items() if standing != SettingStatus.MATCHES} == {"marker"}
    status, output = run_provision("--apply")
    assert (status, output.pop("marker"), set(output.values())) == (0, SettingStatus.APPLIED, {SettingStatus.MATCHES})
    assert run_provision()[0] == 0


def test_doctor_reports_every_bucket_setting_as_ok(at_aws: Account) -> None:
    desired = provision.desired_bucket(provision.site_origins())
    lines = [line for point in BUCKET_SETTINGS for line in check_setting(point, desired)]
    assert len(lines) == len(BUCKET_SETTINGS)
    assert {line.level for line in lines} == {Level.OK}


def test_bucket_settings_equal_those_of_provision(at_aws: Account) -> None:
    """Compare the complete documents; the policy also has statements of the stack."""
    desired = provision.desired_bucket(provision.site_origins())
    for point in BUCKET_SETTINGS:
        looked = compare_setting(point, desired)
        now, expected = looked.now, looked.desired
        if point.subject == "policy":
            now, expected = _by_sid(now), _by_sid(expected)
        if point.subject == "lifecycle":
            now, expected = now["Rules"], expected["Rules"]
        assert now == expected, point.subject


def _by_sid(policy: Any) -> dict[str, Any]:
    return {statement["Sid"]: statement for statement in policy["Statement"]}


def test_only_the_load_balancer_is_public(aws: Account) -> None:
    groups = aws.client("ec2").describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [aws.id_of("Vpc")]}])
    opened = {
        (group["GroupId"], rule["FromPort"])
        for group in groups["SecurityGroups"]
        for rule in group["IpPermissions"]
        if rule["IpRanges"] or rule["Ipv6Ranges"] or rule["PrefixListIds"]
    }
    balancer = aws.id_of("BalancerGroup")
    assert opened == {(balancer, 443), (balancer, 80)}


@pytest.mark.parametrize(
    ("group", "port", "sources"),
    [
        ("WebGroup", 8080, {"BalancerGroup"}),
        ("DatabaseGroup", 5432, {"WebGroup", "WorkGroup"}),
        ("WorkGroup", None, set()),
    ],
)
def test_security_groups_allow_listed_sources(aws: Account, group: str, port: int | None, sources: set[str]) -> None:
    (security_group,) = aws.client("ec2").describe_security_groups(GroupIds=[aws.id_of(group)])["SecurityGroups"]
    rules = security_group["IpPermissions"]
    assert {rule["FromPort"] for rule in rules} == ({port} if port else set())
    pairs = {pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]}
    assert pairs == {aws.id_of(source) for source in sources}


def test_database_properties_are_valid_for_rds(aws: Account) -> None:
    """moto cannot create instances from CloudFormation, so the properties are passed to the API call."""
    its = dict(Template().resolved(**aws.parameters)["Database"]["Properties"])
    its["VpcSecurityGroupIds"] = [aws.id_of("DatabaseGroup") for _ in its.pop("VPCSecurityGroups")]
    for name in ("AllocatedStorage", "MaxAllocatedStorage"):
        its[name] = int(its[name])
    for unsupported in ("DBParameterGroupName", "DBSubnetGroupName"):
        its.pop(unsupported)
    instance = aws.client("rds").create_db_instance(DBInstanceIdentifier="amalga", **its)["DBInstance"]
    assert (instance["PubliclyAccessible"], instance["StorageEncrypted"], instance["MultiAZ"]) == (False, True, True)
    assert (instance["IAMDatabaseAuthenticationEnabled"], instance["DeletionProtection"]) == (True, True)
    assert [group["VpcSecurityGroupId"] for group in instance["VpcSecurityGroups"]] == [aws.id_of("DatabaseGroup")]
    assert instance["MasterUserSecret"]["SecretArn"].startswith("arn:aws:secretsmanager:")


def test_load_balancer_redirects_to_https_and_checks_healthz(aws: Account) -> None:
    elb = aws.client("elbv2")
    listeners = elb.describe_listeners(LoadBalancerArn=aws.id_of("Balancer"))["Listeners"]
    http, https = sorted(listeners, key=lambda listener: listener["Port"])
    assert http["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"
    assert https["SslPolicy"].startswith("ELBSecurityPolicy-TLS13")
    (group,) = elb.describe_target_groups(TargetGroupArns=[aws.id_of("WebTargets")])["TargetGroups"]
    assert (group["HealthCheckPath"], group["Port"], group["TargetType"]) == ("/healthz", 8080, "ip")
