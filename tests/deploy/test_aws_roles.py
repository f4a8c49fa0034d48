"""Least privilege: the permissions of each role in the template, checked one by one and with real requests."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support import form_client, fsck_runs, pictures, stores
from tests.support.aws_moto import DOMAIN, set_bucket_up
from tests.support.aws_policies import BUCKET, Policies, PolicyRequest
from tests.support.aws_roles import acting_as
from tests.support.aws_template import ACCOUNT, REGION, SECRETS, Template
from tests.support.upload_client import UploadClient
from uploads import services
from uploads.models import File, Preview, State
from uploads.services import provision

pytestmark = pytest.mark.slow

ROLES = ("WebRole", "WorkerRole", "SweeperRole", "ExaminerRole", "ReleaseRole")
STARTERS = ("WebStartRole", "WorkStartRole", "ReleaseStartRole")
OBJECT = f"{BUCKET}/f/0123456789abcdef0123456789abcdef"
OURS = {"aws:SecureTransport": "true", "aws:SourceVpce": "storeendpoint"}
# Required to update a stack, by the AWS documentation of Fn::GetAZs.
ACTIONS_OF_GETAZS = {"ec2:DescribeAvailabilityZones", "ec2:DescribeAccountAttributes", "ec2:DescribeSubnets"}
SIGNED = {"aws:SecureTransport": "true", "s3:authType": "REST-QUERY-STRING"}


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    parameters = {"Domain": DOMAIN, "HostedZoneId": "Z", "Image": "image", "ContentKey1": "PEM"}
    return Template().resolved(**parameters, GitHubRepository="team/files")


@pytest.fixture(scope="module")
def policies(resources: dict[str, Any]) -> Policies:
    return Policies(resources)


def allowed_roles(policies: Policies, action: str, resource: str, **context: str) -> set[str]:
    return {
        role for role in ROLES if policies.allows(PolicyRequest(action, resource, role, context={**OURS, **context}))
    }


# --- single permissions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "resource", "expected"),
    [
        ("s3:ListBucket", BUCKET, {"SweeperRole", "ExaminerRole", "ReleaseRole"}),
        ("s3:PutObject", OBJECT, {"WebRole", "SweeperRole"}),
        ("s3:GetObject", OBJECT, {"WebRole", "WorkerRole", "SweeperRole", "ExaminerRole"}),
        ("s3:DeleteObject", OBJECT, {"SweeperRole"}),
        ("s3:DeleteObject", f"{BUCKET}/p/x", {"SweeperRole"}),
        ("s3:DeleteObject", f"{BUCKET}/amalga.json", set()),
        ("s3:DeleteObject", f"{BUCKET}/manifests/x", set()),
        ("s3:PutObject", f"{BUCKET}/p/x", {"WorkerRole", "SweeperRole"}),
        ("s3:PutObject", f"{BUCKET}/amalga.json", {"ReleaseRole"}),
        ("s3:PutObject", f"{BUCKET}/amalga-checkpoint.json", {"SweeperRole"}),
        ("s3:PutObject", f"{BUCKET}/manifests/x", {"ExaminerRole"}),
        ("s3:GetObject", f"{BUCKET}/manifests/x", {"SweeperRole", "ExaminerRole"}),
        ("s3:PutObject", f"{BUCKET}/elsewhere/x", set()),
    ],
)
def test_object_permissions_of_each_role(policies: Policies, action: str, resource: str, expected: set[str]) -> None:
    assert allowed_roles(policies, action, resource) == expected


@pytest.mark.parametrize(
    "action",
    ["s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration",
     "s3:PutBucketCORS", "s3:PutBucketPublicAccessBlock", "s3:PutEncryptionConfiguration", "s3:DeleteBucket",
     "s3:PutBucketAcl", "s3:PutReplicationConfiguration"],
)  # fmt: skip
def test_no_task_changes_the_bucket(policies: Policies, action: str) -> None:
    assert allowed_roles(policies, action, BUCKET) == set()


def test_tags_are_read_only_for_the_malware_check(policies: Policies) -> None:
    assert allowed_roles(policies, "s3:GetObjectTagging", OBJECT) == set()
    parameters = {"Domain": DOMAIN, "HostedZoneId": "Z", "Image": "image", "ContentKey1": "PEM"}
    scanning = Policies(Template().resolved(**parameters, MalwareScan="requests"))
    assert allowed_roles(scanning, "s3:GetObjectTagging", OBJECT) == {"WorkerRole"}
    assert allowed_roles(scanning, "s3:GetObjectTagging", f"{BUCKET}/amalga.json") == {"ReleaseRole"}
    assert allowed_roles(scanning, "s3:PutObjectTagging", OBJECT) == set()


@pytest.mark.parametrize("action", ["s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:BypassGovernanceRetention"])
def test_no_role_can_delete_versions_or_change_acls(policies: Policies, action: str) -> None:
    assert allowed_roles(policies, action, OBJECT) == set()


def test_no_role_can_use_another_bucket(policies: Policies) -> None:
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert allowed_roles(policies, action, "arn:aws:s3:::other/f/x") == set()
    assert allowed_roles(policies, "s3:ListBucket", "arn:aws:s3:::other") == set()


def test_wildcards_are_limited_to_actions_without_resources(policies: Policies, resources: dict[str, Any]) -> None:
    unnamed = {"ecr:GetAuthorizationToken", *ACTIONS_OF_GETAZS}
    for role in (name for name, it in resources.items() if it["Type"] == "AWS::IAM::Role"):
        for statement in policies.of_role(role):
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            assert not [action for action in actions if "*" in action], role
            if statement["Resource"] == "*":
                named = [action for action in actions if not action.startswith(("ssmmessages:", "ecs:"))]
                assert set(named) <= unnamed, role


@pytest.mark.parametrize("role", STARTERS)
def test_start_roles_can_only_read_the_secrets_they_need(policies: Policies, role: str) -> None:
    owner = f"arn:aws:iam::{ACCOUNT}:MasterUserSecret.SecretArn/Database"
    known = {name: f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}" for name in SECRETS} | {"owner": owner}
    allowed = {
        name
        for name, arn in known.items()
        if policies.allows(PolicyRequest("secretsmanager:GetSecretValue", arn, role))
    }
    more = {"WebStartRole": {"ContentSecret1", "ContentSecret2"}, "ReleaseStartRole": {"owner"}}
    assert allowed == {"Settings", "MailSettings"} | more.get(role, set())
    assert not policies.allows(PolicyRequest("s3:GetObject", OBJECT, role))


@pytest.mark.parametrize("role", ROLES)
def test_task_roles_read_no_secrets_and_have_one_database_login(policies: Policies, role: str) -> None:
    assert not policies.allows(PolicyRequest("secretsmanager:GetSecretValue", "arn:any", role))
    assert not policies.allows(PolicyRequest("iam:PassRole", "arn:any", role))
    users = f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:database.DbiResourceId"
    assert policies.allows(PolicyRequest("rds-db:connect", f"{users}/amalga_app", role))
    assert not policies.allows(PolicyRequest("rds-db:connect", f"{users}/amalga", role))


def test_github_role_can_only_deploy(policies: Policies, resources: dict[str, Any]) -> None:
    (trust,) = resources["DeployRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    conditions = trust["Condition"]["StringEquals"]
    assert conditions["token.actions.githubusercontent.com:sub"] == "repo:team/files:environment:production"
    stack = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/amalga/1"
    assert policies.allows(PolicyRequest("cloudformation:UpdateStack", stack, "DeployRole"))
    for action in ("cloudformation:DeleteStack", "iam:PutRolePolicy", "iam:CreateRole", "s3:PutBucketPolicy",
                   "s3:GetObject", "rds:DeleteDBInstance", "secretsmanager:GetSecretValue", "ec2:RunInstances",
                   "ec2:AuthorizeSecurityGroupIngress", "ecs:RunTask", "ecs:ExecuteCommand"):  # fmt: skip
        assert not policies.allows(PolicyRequest(action, stack, "DeployRole")), action


def test_github_role_has_the_permissions_of_template_functions(policies: Policies) -> None:
    """moto does not check permissions for them."""
    assert "!GetAZs" in Template().text
    for action in ACTIONS_OF_GETAZS:
        assert policies.allows(PolicyRequest(action, "*", "DeployRole")), action


# --- presigned URLs and CloudFront ------------------------------------------------------------


def test_bucket_urls_do_not_work_outside_our_network(policies: Policies) -> None:
    """Neither with a signature of the web role nor without one."""
    assert not policies.allows(PolicyRequest("s3:GetObject", OBJECT, "WebRole", context=SIGNED))
    assert not policies.allows(PolicyRequest("s3:GetObject", OBJECT, context={"aws:SecureTransport": "true"}))
    assert policies.allows(PolicyRequest("s3:GetObject", OBJECT, "WebRole", context={**SIGNED, **OURS}))


@pytest.mark.parametrize(("age", "expected"), [("599000", True), ("600001", False)])
def test_presigned_uploads_expire_after_ten_minutes(policies: Policies, age: str, expected: bool) -> None:
    context = {**SIGNED, "s3:signatureAge": age}
    assert policies.allows(PolicyRequest("s3:PutObject", OBJECT, "WebRole", context=context)) is expected


def test_cloudfront_reads_files_for_our_distribution_alone(policies: Policies) -> None:
    def reads(resource: str, distribution: str) -> bool:
        source = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{distribution}"
        context = {"aws:SecureTransport": "true", "s3:authType": "REST-HEADER", "aws:SourceArn": source}
        return policies.allows(
            PolicyRequest("s3:GetObject", resource, service="cloudfront.amazonaws.com", context=context)
        )

    assert reads(OBJECT, "content")
    assert not reads(OBJECT, "other")
    assert not reads(f"{BUCKET}/manifests/x", "content")
    assert not reads(f"{BUCKET}/amalga.json", "content")


def test_plain_http_is_denied(policies: Policies) -> None:
    plain = {**OURS, "aws:SecureTransport": "false"}
    for role in ROLES:
        assert not policies.allows(PolicyRequest("s3:GetObject", f"{BUCKET}/amalga.json", role, context=plain))


# --- real requests ----------------------------------------------------------------------------

small_parts = pytest.mark.usefixtures("small_parts")


@small_parts
@pytest.mark.django_db
def test_the_web_role_is_enough_for_uploads_and_downloads(
    as_alice: Client, bucket: stores.Bucket, settings: Settings, policies: Policies
) -> None:
    with acting_as("WebRole", bucket, settings, policies) as guard:
        upload_client = UploadClient(as_alice)
        small, large = upload_client.send(b"hello"), upload_client.send(b"x" * 25)
        assert {small.state, large.state} == {State.AVAILABLE}
        assert as_alice.get(f"/files/{large.permanent_id}/download").status_code == 302
        upload = upload_client.start(b"y" * 25)
        upload_client.put(upload, 1)
        assert upload_client.retrieve(upload).json()["parts"][0]["number"] == 1
        assert guard.denied == []
        assert upload_client.cancel(upload).status_code == 204
    assert upload.row().state == State.DELETING  # the sweep aborts the parts
    assert guard.allowed == {"s3:GetObject", "s3:PutObject", "s3:ListMultipartUploadParts"}


@small_parts
@pytest.mark.django_db
def test_the_web_role_is_enough_for_the_plain_form_and_for_zips(
    as_alice: Client, bucket: stores.Bucket, settings: Settings, policies: Policies
) -> None:
    with acting_as("WebRole", bucket, settings, policies) as guard:
        files = form_client.send(as_alice, form_client.Chosen("a.txt"), form_client.Chosen("b.bin", b"x" * 25))
        response: Any = as_alice.post("/files/zip", {"file": [str(file.permanent_id) for file in files]})
        assert b"x" * 25 in b"".join(response.streaming_content)
    assert guard.denied == []


@pytest.mark.django_db
def test_completion_without_an_object_waits_for_the_sweep(
    as_alice: Client, bucket: stores.Bucket, settings: Settings, policies: Policies
) -> None:
    """Without ListBucket, S3 returns 403 for missing objects: nothing is concluded from that."""
    with acting_as("WebRole", bucket, settings, policies):
        upload_client = UploadClient(as_alice)
        upload = upload_client.start(b"hello")
        assert upload_client.finish(upload).json()["files"][0].get("state") != "available"
        assert upload.row().state == State.COMPLETING
    with acting_as("SweeperRole", bucket, settings, policies) as guard:
        call_command("sweep", stdout=io.StringIO(), stderr=io.StringIO())
    assert (guard.denied, upload.row().state) == ([], State.UPLOADING)


@small_parts
@pytest.mark.django_db
def test_the_sweeper_role_is_enough_to_delete_files(
    as_alice: Client, bucket: stores.Bucket, settings: Settings, policies: Policies
) -> None:
    upload_client = UploadClient(as_alice)
    file, upload = upload_client.send(b"x" * 25), upload_client.start(b"y" * 25)
    upload_client.put(upload, 1)
    upload_client.cancel(upload)
    past = timezone.now() - timedelta(days=40)
    File.objects.filter(pk=file.pk).update(state=State.TRASHED, purge_after=past, signed_until=past)
    with acting_as("SweeperRole", bucket, settings, policies) as guard:
        call_command("sweep", stdout=io.StringIO(), stderr=io.StringIO())
    assert guard.denied == []
    assert "s3:DeleteObject" in guard.allowed
    assert bucket.objects() == {}


@pytest.mark.django_db(transaction=True)
def test_the_sweeper_role_is_enough_to_repair(
    upload_client: UploadClient, bucket: stores.Bucket, settings: Settings, policies: Policies
) -> None:
    upload_client.send(b"hello")
    bucket.write(fsck_runs.key(1), b"nobody's")
    with acting_as("SweeperRole", bucket, settings, policies) as guard:
        fsck_runs.run_fsck()
        fsck_runs.run_fsck("--repair", "--max-repairs=1")
    assert guard.denied == []
    assert f"quarantine/{fsck_runs.key(1)}" in bucket.objects()


@pytest.mark.django_db
def test_the_worker_role_is_enough_for_previews(
    upload_client: UploadClient, bucket: stores.Bucket, settings: Settings, policies: Policies
) -> None:
    file = upload_client.send(pictures.as_file(pictures.two_halves(40, 20)), name="a.png")
    with acting_as("WorkerRole", bucket, settings, policies) as guard:
        services.make_previews(file)
    assert guard.denied == []
    assert Preview.objects.filter(file=file, state="ready").count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", [["fsck", "--min-age=0"], ["verify"], ["export_manifest", "--to-bucket"]])
def test_the_examiner_role_is_enough_for_its_commands(
    upload_client: UploadClient, bucket: stores.Bucket, settings: Settings, policies: Policies, command: list[str]
) -> None:
    upload_client.send(b"hello")
    with acting_as("ExaminerRole", bucket, settings, policies) as guard:
        call_command(*command, stdout=io.StringIO(), stderr=io.StringIO())
    assert guard.denied == []


@pytest.mark.django_db
def test_release_role_can_only_mark_the_bucket(
    fresh: stores.Bucket, settings: Settings, policies: Policies, monkeypatch: pytest.MonkeyPatch, alice: User
) -> None:
    monkeypatch.setattr(provision, "uses_tls", lambda: True)
    fresh.client.create_bucket(Bucket=fresh.name)
    set_bucket_up(fresh.client, fresh.name, Domain=DOMAIN, HostedZoneId="Z", ContentKey1="PEM")
    with acting_as("ReleaseRole", fresh, settings, policies) as guard:
        call_command("provision", "--apply", stdout=io.StringIO())
        assert guard.denied == []
        fresh.client.put_bucket_versioning(Bucket=fresh.name, VersioningConfiguration={"Status": "Suspended"})
        with pytest.raises(CommandError):
            call_command("provision", "--apply", stdout=io.StringIO())
    assert guard.denied == ["s3:PutBucketVersioning "]
