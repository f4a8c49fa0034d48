"""`provision` configures the bucket and keeps the settings of others."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.support import storage_proxies, stores
from tests.support.commands import run_command
from tests.support.storage_proxies import StorageProxy
from uploads import s3
from uploads.errors import ValidationFailed
from uploads.models import Installation
from uploads.s3.bucket_config import BucketSetting, SettingDiff, compare_setting
from uploads.s3.bucket_policies import BucketSpec
from uploads.services import provision

pytestmark = pytest.mark.django_db

ORIGIN = "https://files.example.org"
SUBJECTS = ("bucket", "public access", "object ownership", "policy", "encryption", "versioning", "lifecycle", "CORS",
            "marker")  # fmt: skip
RIGHTS = ("BucketPublicAccessBlock", "BucketOwnershipControls", "BucketPolicy", "EncryptionConfiguration",
          "BucketVersioning", "LifecycleConfiguration", "BucketCORS")  # fmt: skip
FOREIGN_RULE: Any = {
    "ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 7},
}  # fmt: skip
FOREIGN_STATEMENT = {
    "Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "s3:GetObject", "Resource": "arn:aws:s3:::BUCKET/logs/*",
}  # fmt: skip


@pytest.fixture
def unconfigured(fresh: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> stores.Bucket:
    """An unconfigured bucket; this storage enforces no policy, so that it can have one that requires TLS."""
    monkeypatch.setattr(provision, "uses_tls", lambda: True)
    fresh.client.create_bucket(Bucket=fresh.name)
    fresh.client.delete_public_access_block(Bucket=fresh.name)
    return fresh


def run_provision(*arguments: str) -> tuple[int, str]:
    """Return the exit status and the text of both streams."""
    status, output, errors = run_command("provision", *arguments)
    return status, output + errors


def test_dry_run_prints_every_difference_and_writes_nothing(unconfigured: stores.Bucket) -> None:
    status, output = run_provision()
    assert status == 1
    for line in (
        "public access: BlockPublicPolicy: off, should be on",
        "policy: requests without TLS: allowed, should be denied",
        "versioning: versioning: off, should be on",
        "lifecycle: f/ unfinished uploads: kept forever, should be aborted after 37 days",
        f"CORS: {ORIGIN}: not set, should be PUT with content-type, if-none-match, x-amz-checksum-sha256",
        "marker: amalga.json: missing, should be",
        "encryption: ok",
    ):
        assert line in output
    assert unconfigured.objects() == {}
    assert "Status" not in unconfigured.client.get_bucket_versioning(Bucket=unconfigured.name)


def test_missing_bucket_is_created_and_configured(fresh: stores.Bucket) -> None:
    assert run_provision()[0] == 1
    assert fresh.name not in str(fresh.client.list_buckets()["Buckets"])
    assert run_provision("--apply")[0] == 0
    blocks = fresh.client.get_public_access_block(Bucket=fresh.name)["PublicAccessBlockConfiguration"]
    assert list(blocks.values()) == [True] * 4
    owner = fresh.client.get_bucket_ownership_controls(Bucket=fresh.name)["OwnershipControls"]["Rules"]
    assert owner == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert fresh.client.get_bucket_versioning(Bucket=fresh.name)["Status"] == "Enabled"
    assert json.loads(fresh.read("amalga.json")) == {"installation": str(Installation.objects.own_id())}


def test_second_run_changes_nothing(unconfigured: stores.Bucket) -> None:
    assert run_provision("--apply")[0] == 0
    status, output = run_provision()
    assert status == 0
    assert {line.partition(": ")[2] for line in output.splitlines()} == {"ok"}


def test_plain_http_and_old_signatures_of_puts_are_denied(unconfigured: stores.Bucket) -> None:
    run_provision("--apply")
    tls, fresh = json.loads(unconfigured.client.get_bucket_policy(Bucket=unconfigured.name)["Policy"])["Statement"]
    assert (tls["Effect"], tls["Action"], tls["Condition"]) == (
        "Deny", "s3:*", {"Bool": {"aws:SecureTransport": "false"}},
    )  # fmt: skip
    assert (fresh["Effect"], fresh["Action"], fresh["Condition"]) == (
        "Deny", "s3:PutObject", {"NumericGreaterThan": {"s3:signatureAge": "600000"}},
    )  # fmt: skip
    assert tls["Resource"] == [f"arn:aws:s3:::{unconfigured.name}", f"arn:aws:s3:::{unconfigured.name}/*"]


def test_storage_over_plain_http_gets_no_tls_policy(fresh: stores.Bucket) -> None:
    assert run_provision("--apply")[0] == 0
    assert "aws:SecureTransport" not in fresh.client.get_bucket_policy(Bucket=fresh.name)["Policy"]


def test_statements_and_rules_of_others_are_kept(unconfigured: stores.Bucket) -> None:
    foreign_statement = json.loads(json.dumps(FOREIGN_STATEMENT).replace("BUCKET", unconfigured.name))
    policy = json.dumps({"Version": "2012-10-17", "Statement": foreign_statement})
    unconfigured.client.put_bucket_policy(Bucket=unconfigured.name, Policy=policy)
    unconfigured.client.put_bucket_lifecycle_configuration(
        Bucket=unconfigured.name, LifecycleConfiguration={"Rules": [FOREIGN_RULE]}
    )
    run_provision("--apply")
    statements = json.loads(unconfigured.client.get_bucket_policy(Bucket=unconfigured.name)["Policy"])["Statement"]
    assert statements[0] == foreign_statement
    assert len(statements) == 3
    rules = unconfigured.client.get_bucket_lifecycle_configuration(Bucket=unconfigured.name)["Rules"]
    assert rules[0] == FOREIGN_RULE
    assert len(rules) == 6


def test_lifecycle_rules_cover_exactly_our_prefixes(unconfigured: stores.Bucket, settings: Settings) -> None:
    settings.UPLOAD_EXPIRY_HOURS = 49
    run_provision("--apply", "--retention-days", "90")
    rules = unconfigured.client.get_bucket_lifecycle_configuration(Bucket=unconfigured.name)["Rules"]
    prefixes = [rule["Filter"]["Prefix"] for rule in rules]
    assert prefixes == ["f/", "p/", "quarantine/", "manifests/", "amalga-checkpoint.json"]
    for rule in rules:
        assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 33
        assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 90
        assert "Days" not in rule["Expiration"]  # current versions never expire


def test_longer_retention_is_kept_unless_requested(unconfigured: stores.Bucket) -> None:
    run_provision("--apply", "--retention-days", "90")
    assert run_provision()[0] == 0
    assert "kept for 90 days, should be kept for 40 days" in run_provision("--retention-days", "40")[1]


def test_kms_key_is_kept(unconfigured: stores.Bucket) -> None:
    default: Any = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:aws:kms:us-east-1:123456789012:key/1"}
    rules: Any = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
    unconfigured.client.put_bucket_encryption(Bucket=unconfigured.name, ServerSideEncryptionConfiguration=rules)
    assert "encryption: ok" in run_provision("--apply")[1]
    rules_after = unconfigured.client.get_bucket_encryption(Bucket=unconfigured.name)[
        "ServerSideEncryptionConfiguration"
    ]["Rules"]
    assert rules_after[0]["ApplyServerSideEncryptionByDefault"] == default


def test_removed_foreign_origins_are_printed_first(unconfigured: stores.Bucket) -> None:
    rule: Any = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"]}
    unconfigured.client.put_bucket_cors(Bucket=unconfigured.name, CORSConfiguration={"CORSRules": [rule]})
    assert "CORS: *: GET, PUT with *, sees nothing, remembered for 0 s, should be not set" in run_provision()[1]
    run_provision("--apply")
    (left,) = unconfigured.client.get_bucket_cors(Bucket=unconfigured.name)["CORSRules"]
    assert left["AllowedOrigins"] == [ORIGIN]
    assert left["AllowedMethods"] == ["PUT"]
    assert left["ExposeHeaders"] == ["ETag"]


@pytest.mark.parametrize(
    ("mode", "headers"),
    [("sha256", {"content-type", "if-none-match", "x-amz-checksum-sha256"}),
     ("payload", {"content-type", "x-amz-content-sha256"}), ("off", {"content-type"})],
)  # fmt: skip
def test_allowed_headers_are_those_that_are_signed(
    unconfigured: stores.Bucket, settings: Settings, mode: str, headers: set[str]
) -> None:
    """The expected headers come from the signer; parts need no additional ones."""
    settings.S3_CHECKSUMS = mode
    digest = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="
    put, part = s3.sign_put("f/x", size=4, sha256=digest), s3.sign_part("f/x", "u", 1, size=4, sha256=digest)
    signed = put.headers | part.headers
    assert {name.lower() for name in signed} == headers
    assert set(provision.desired_bucket([ORIGIN]).headers) == headers


# --- the marker -------------------------------------------------------------------------------


def test_bucket_of_another_database_is_refused(unconfigured: stores.Bucket) -> None:
    other = uuid4()
    s3.write_marker(other)
    status, output = run_provision("--apply")
    assert status == 2
    assert f"--adopt-marker {other}" in output
    assert s3.read_marker() == other
    assert "Status" not in unconfigured.client.get_bucket_versioning(Bucket=unconfigured.name)


def test_a_marker_is_adopted_by_its_id_alone(unconfigured: stores.Bucket) -> None:
    other = uuid4()
    s3.write_marker(other)
    assert run_provision("--apply", "--adopt-marker", str(uuid4()))[0] == 2
    assert run_provision("--adopt-marker", str(other))[0] == 1
    assert s3.read_marker() == other
    assert run_provision("--apply", "--adopt-marker", str(other))[0] == 0
    assert s3.read_marker() == Installation.objects.own_id()


def test_adopting_a_missing_marker_creates_no_bucket(fresh: stores.Bucket) -> None:
    status, output = run_provision("--apply", "--adopt-marker", str(uuid4()))
    assert status == 2
    assert "has no marker" in output
    assert fresh.name not in str(fresh.client.list_buckets()["Buckets"])


def test_one_of_two_databases_marks_the_bucket(unconfigured: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other database writes its marker while `provision` compares the settings."""
    other = uuid4()

    def compare_after_other(setting: BucketSetting, spec: BucketSpec) -> SettingDiff:
        s3.write_marker(other)
        return compare_setting(setting, spec)

    monkeypatch.setattr(provision, "compare_setting", compare_after_other)
    status, output = run_provision("--apply")
    assert status == 1
    assert "another process marked the bucket" in output
    assert s3.read_marker() == other


@pytest.mark.parametrize("content", [b"{}", b"[" * 1024], ids=["empty", "deep"])
def test_invalid_marker_is_refused(unconfigured: stores.Bucket, content: bytes) -> None:
    unconfigured.write("amalga.json", content)
    status, output = run_provision("--apply")
    assert status == 2
    assert "is not a valid marker" in output


# --- origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", [["*"], ["files.example.org", ".example.org"]])
def test_ambiguous_allowed_hosts_require_the_origin_option(
    unconfigured: stores.Bucket, settings: Settings, hosts: list[str]
) -> None:
    settings.ALLOWED_HOSTS = hosts
    status, output = run_provision("--apply")
    assert status == 2
    assert "--origin" in output
    assert (
        run_provision("--apply", "--origin", "https://A.example.org:443/", "--origin", "http://localhost:8000")[0] == 0
    )
    (rule,) = unconfigured.client.get_bucket_cors(Bucket=unconfigured.name)["CORSRules"]
    assert rule["AllowedOrigins"] == ["http://localhost:8000", "https://a.example.org"]


@pytest.mark.parametrize(
    "origin", ["*", "files.example.org", "https://*.example.org", "ftp://x", "https://x/path", "https://u:p@x", "https://",
               "https://x:99999", "https://[", "null"],
)  # fmt: skip
def test_invalid_origin_is_rejected(origin: str) -> None:
    with pytest.raises(ValidationFailed, match="An origin must be like"):
        provision.site_origins([origin])


def test_command_rejects_invalid_origin() -> None:
    assert run_provision("--apply", "--origin", "*")[0] == 2


def test_origins_come_from_settings(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["files.example.org", "10.0.0.7", "localhost", "other.example.org"]
    settings.CSRF_TRUSTED_ORIGINS, settings.HTTPS = ["https://files.example.org:8443"], True
    assert provision.site_origins() == ["https://files.example.org:8443", "https://other.example.org"]


@pytest.mark.parametrize("days", ["0", "-1", "4000"])
def test_invalid_retention_days_are_rejected(days: str) -> None:
    assert run_provision("--retention-days", days)[0] == 2


# --- missing permissions and unsupported settings ---------------------------------------------


@pytest.fixture
def storage_proxy(unconfigured: stores.Bucket, settings: Settings) -> Iterator[StorageProxy]:
    """A proxy between the app and the storage of the unconfigured bucket."""
    with storage_proxies.proxy_of_app(settings, unconfigured) as proxy:
        yield proxy


def only(word: str, method: str, fault: storage_proxies.Rule) -> storage_proxies.Rule:
    """Apply `fault` only to requests with this method and `word` in their URL."""
    return lambda request: fault(request) if word in request.url and request.method == method else request.forward()


def test_each_missing_permission_is_named_and_the_run_continues(storage_proxy: StorageProxy) -> None:
    storage_proxy.rules["*"] = only("?", "GET", storage_proxies.status(403, "AccessDenied"))
    status, output = run_provision("--apply")
    assert status == 1
    for right in RIGHTS:
        assert f"access denied, could not be read. Fix: allow s3:Get{right}.\n" in output
    assert "marker: amalga.json: changed from missing" in output


def test_missing_write_permission_is_named(storage_proxy: StorageProxy, unconfigured: stores.Bucket) -> None:
    storage_proxy.rules["*"] = only("?versioning", "PUT", storage_proxies.status(403, "AccessDenied"))
    status, output = run_provision("--apply")
    assert status == 1
    assert "versioning: access denied, could not be written. Fix: allow s3:PutBucketVersioning." in output
    assert unconfigured.client.get_bucket_cors(Bucket=unconfigured.name)["CORSRules"]


@pytest.mark.parametrize("refusal", [(405, "MethodNotAllowed"), (501, "")])
def test_unsupported_setting_of_storage_is_reported_without_failure(
    storage_proxy: StorageProxy, refusal: tuple[int, str]
) -> None:
    storage_proxy.rules["*"] = only("?versioning", "GET", storage_proxies.status(*refusal))
    status, output = run_provision("--apply")
    assert status == 0
    assert "versioning: not supported by this storage. Fix: " in output


@pytest.mark.parametrize("fault", ["500", "broken", "page 200"])
def test_error_at_one_setting_does_not_stop_the_others(storage_proxy: StorageProxy, fault: str) -> None:
    storage_proxy.rules["*"] = only("?encryption", "GET", storage_proxies.FAULTS[fault])
    status, output = run_provision("--apply")
    assert status == 1
    assert "encryption: " in output
    assert "marker: amalga.json: changed from missing" in output


@pytest.mark.parametrize("fault", ["403", "broken"])
def test_unreachable_storage_is_one_sentence(storage_proxy: StorageProxy, fault: str) -> None:
    storage_proxy.rules["*"] = storage_proxies.FAULTS[fault]
    status, output = run_provision("--apply")
    assert status == 1
    assert "Storage is unavailable" in output
    assert len(output.splitlines()) == 1


def test_storage_without_bucket_settings_gets_the_marker(unmarked: stores.Bucket, settings: Settings) -> None:
    """rclone answers GET requests for settings with a listing, and treats PUT requests as new buckets."""
    settings.CSRF_TRUSTED_ORIGINS, settings.ALLOWED_HOSTS = [ORIGIN], ["files.example.org"]
    status, output = run_provision("--apply")
    assert status == 0
    assert output.count("not supported by this storage") == 7
    assert s3.read_marker() == Installation.objects.own_id()
    assert unmarked.objects() == {}


# --- output -----------------------------------------------------------------------------------


def test_json_output_is_one_object(unconfigured: stores.Bucket) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("provision", "--json", stdout=out)
    summary = json.loads(out.getvalue())
    assert summary["applied"] is False
    points = {setting["subject"]: setting for setting in summary["settings"]}
    assert points["versioning"]["status"] == "differs"
    assert points["versioning"]["differences"] == [{"name": "versioning", "current": "off", "desired": "on"}]
    assert list(points) == [*SUBJECTS]


def test_a_bucket_in_another_region_is_refused_with_its_region(fresh: stores.Bucket) -> None:
    where: Any = {"LocationConstraint": "eu-west-1"}
    fresh.client.create_bucket(Bucket=fresh.name, CreateBucketConfiguration=where)
    status, output = run_provision("--apply")
    assert status == 2
    assert "AWS_DEFAULT_REGION=eu-west-1" in output
