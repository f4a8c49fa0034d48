"""Bucket checks of `doctor`: configuration, ownership, access, CORS and checksums."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from pytest_django import Settings

from tests.support import storage_proxies, stores
from tests.support.doctor_results import EVIL, ORIGIN, examined, level, only
from tests.support.storage_proxies import StorageProxy
from uploads import s3
from uploads.models import Installation
from uploads.s3 import feature_probes
from uploads.s3.bucket_config import BUCKET_SETTINGS
from uploads.s3.bucket_policies import archive_tiers, lifecycle_conflicts, unknown_classes
from uploads.services.doctor import Level
from uploads.services.doctor.bucket import (
    check_archive_tiers,
    check_checksums,
    check_cors,
    check_foreign_cors,
    check_marker,
    check_setting,
)
from uploads.services.doctor.results import Deadline
from uploads.services.doctor.storage import store_checks
from uploads.services.provision import desired_bucket

pytestmark = pytest.mark.django_db


@pytest.fixture
def safe(fresh: stores.Bucket) -> stores.Bucket:
    """A bucket configured by `provision`."""
    call_command("provision", "--apply", stdout=io.StringIO())
    return fresh


# --- bucket settings, correct and wrong -------------------------------------------------------


def test_provisioned_bucket_passes_except_anonymous_access(safe: stores.Bucket) -> None:
    lines = examined()
    subjects = {subject for subject, line in lines.items() if line.level is not Level.OK}
    # the storage of this test also answers unsigned requests
    assert subjects == {"bucket anonymous access"}
    assert lines["bucket anonymous access"].reason == "anyone on the network can list the bucket and read an object"
    assert safe.objects() == {}


def test_unconfigured_bucket_fails_each_check(fresh: stores.Bucket) -> None:
    fresh.client.create_bucket(Bucket=fresh.name)
    fresh.client.delete_public_access_block(Bucket=fresh.name)
    fresh.client.delete_bucket_ownership_controls(Bucket=fresh.name)
    lines = examined()
    for point in ("public access", "CORS"):
        assert level(lines, f"bucket {point}") == "fail"
    for subject in ("bucket object ownership", "bucket policy", "bucket versioning", "bucket lifecycle", "marker"):
        assert level(lines, subject) == "warn"
    assert lines[f"CORS from {ORIGIN}"].reason == "browsers cannot upload: HTTP status 403"


def test_storage_without_bucket_settings_denies_anonymous_access(bucket: stores.Bucket) -> None:
    lines = examined("http://localhost:8000")
    assert level(lines, "bucket anonymous access") == "ok"
    assert level(lines, "CORS from http://localhost:8000") == "ok"
    assert lines["bucket encryption"].reason == "not supported by this storage"
    assert not [line for line in lines.values() if line.level is Level.FAIL]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}, "deletes files after some time"),
        ({"Filter": {"Prefix": "f/ab"}, "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}, "(GLACIER)"),
        ({"Transitions": [{"Days": 0, "StorageClass": "STANDARD_IA"}, {"StorageClass": "DEEP_ARCHIVE"}]}, "(DEEP_ARCH"),
        ({"Filter": {"Prefix": "f/"}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, "aborts uploads"),
        ({"Filter": {"Prefix": "p"}, "NoncurrentVersionExpiration": {"NoncurrentDays": 2}}, "for 2 days only"),
    ],
)
def test_foreign_lifecycle_rule_on_our_files_is_reported(rule: dict[str, Any], reason: str) -> None:
    (danger,) = lifecycle_conflicts({"Rules": [{"ID": "theirs", "Status": "Enabled", **rule}]}, expiry_days=7)
    assert "'theirs'" in danger
    assert reason in danger


@pytest.mark.parametrize(
    "rule",
    [
        {"Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 1}},
        {"Filter": {"Prefix": ""}, "Expiration": {"Days": 1}, "Status": "Disabled"},
        {"Filter": {"And": {"Prefix": "foreign/", "Tags": []}}, "Expiration": {"Days": 1}},
        {"Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 8}},
        {"Transitions": [{"Days": 0, "StorageClass": "INTELLIGENT_TIERING"}]},
        {"Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}, {"Days": 90, "StorageClass": "ONEZONE_IA"}]},
        {"Transitions": [{"Date": "2030-01-01T00:00:00Z", "StorageClass": "GLACIER_IR"}]},
        {"NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "DEEP_ARCHIVE"}]},
        {"Filter": {"Prefix": "logs/"}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]},
    ],
)
def test_harmless_lifecycle_rule_is_not_reported(rule: dict[str, Any]) -> None:
    document = {"Rules": [{"ID": "theirs", "Status": "Enabled", **rule}]}
    assert (lifecycle_conflicts(document, expiry_days=7), unknown_classes(document)) == ([], [])


def test_unknown_storage_class_is_reported_separately() -> None:
    rule = {"ID": "theirs", "Status": "Enabled", "Transitions": [{"Days": 1, "StorageClass": "COLD_TIER"}]}
    assert lifecycle_conflicts({"Rules": [rule]}, expiry_days=7) == []
    (doubt,) = unknown_classes({"Rules": [rule]})
    assert "'theirs' moves files to COLD_TIER" in doubt


@pytest.mark.parametrize(
    ("configuration", "count"),
    [
        ({"Status": "Enabled"}, 1),
        ({"Status": "Enabled", "Filter": {"Prefix": "f/"}}, 1),
        ({"Status": "Enabled", "Filter": {"Prefix": "logs/"}}, 0),
        ({"Status": "Disabled"}, 0),
    ],
)
def test_intelligent_tiering_with_archive_tiers_is_reported(configuration: dict[str, Any], count: int) -> None:
    tierings = [{"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}, {"Days": 180, "AccessTier": "DEEP_ARCHIVE_ACCESS"}]
    lines = archive_tiers([{"Id": "cold", "Tierings": tierings, **configuration}])
    assert len(lines) == count
    assert all("'cold'" in line and "ARCHIVE_ACCESS, DEEP_ARCHIVE_ACCESS" in line for line in lines)


def test_archive_tiers_of_the_bucket_are_a_warning(digest_bucket: stores.Bucket) -> None:
    assert only(check_archive_tiers()).level is Level.OK
    tierings: Any = [{"Days": 90, "AccessTier": "ARCHIVE_ACCESS"}]
    digest_bucket.client.put_bucket_intelligent_tiering_configuration(
        Bucket=digest_bucket.name, Id="cold", IntelligentTieringConfiguration={
            "Id": "cold", "Status": "Enabled", "Tierings": tierings,
        },
    )  # fmt: skip
    line = only(check_archive_tiers())
    assert line.level is Level.WARN
    assert "'cold'" in line.reason


def test_conflicting_lifecycle_rule_in_the_bucket_fails(safe: stores.Bucket) -> None:
    rules = safe.client.get_bucket_lifecycle_configuration(Bucket=safe.name)["Rules"]
    theirs: Any = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    safe.client.put_bucket_lifecycle_configuration(Bucket=safe.name, LifecycleConfiguration={"Rules": [theirs, *rules]})
    (lifecycle,) = (point for point in BUCKET_SETTINGS if point.subject == "lifecycle")
    fine, wrong = check_setting(lifecycle, desired_bucket([ORIGIN]))
    assert (fine.level, wrong.level) == (Level.OK, Level.FAIL)


def test_the_marker_of_another_database_fails(bucket: stores.Bucket) -> None:
    other = uuid4()
    s3.write_marker(other)
    own = Installation.objects.own_id()
    line = only(check_marker(own))
    assert line.level is Level.FAIL
    assert str(other) in line.reason
    assert str(own) in line.reason
    bucket.write("amalga.json", b"hello")
    assert only(check_marker(own)).level is Level.FAIL


# --- CORS as browsers use it ------------------------------------------------------------------


def test_cors_check_covers_every_origin(safe: stores.Bucket) -> None:
    assert only(check_cors(ORIGIN)).level is Level.OK
    assert only(check_cors("https://second.example.org")).level is Level.FAIL


def test_forbidden_request_header_fails(safe: stores.Bucket) -> None:
    (rule,) = safe.client.get_bucket_cors(Bucket=safe.name)["CORSRules"]
    rule["AllowedHeaders"] = ["content-type", "if-none-match"]
    safe.client.put_bucket_cors(Bucket=safe.name, CORSConfiguration={"CORSRules": [rule]})
    assert only(check_cors(ORIGIN)).level is Level.FAIL


def test_missing_cors_headers_are_named(bucket: stores.Bucket, settings: Settings) -> None:
    settings.S3_CHECKSUMS = "sha256"  # the development storage allows no S3 headers
    assert only(check_cors("http://localhost:8000")).reason.endswith(
        "if-none-match, x-amz-checksum-sha256 is not allowed"
    )


def test_wildcard_cors_origin_fails_on_a_network(safe: stores.Bucket, settings: Settings) -> None:
    anybody: Any = {"AllowedOrigins": ["*"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
    safe.client.put_bucket_cors(Bucket=safe.name, CORSConfiguration={"CORSRules": [anybody]})
    settings.S3_ORIGIN = "https://s3.example.org"  # only the host name matters
    assert only(check_foreign_cors()).level is Level.FAIL
    assert only(check_cors(ORIGIN)).level is Level.OK


def test_settings_without_site_origin_are_reported(bucket: stores.Bucket, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    lines = {line.subject: line for line in store_checks(Deadline(30), [])}
    assert level(lines, "CORS") == "warn"
    assert "--origin" in lines["CORS"].advice
    assert EVIL in lines


# --- checksums --------------------------------------------------------------------------------


def test_storage_that_verifies_checksums_passes(digest_bucket: stores.Bucket) -> None:
    line = only(check_checksums())
    assert line.level is Level.OK
    assert line.reason.endswith("(tested; the storage supports sha256, off)")
    assert digest_bucket.objects() == {}
    assert digest_bucket.multipart_uploads() == []


@pytest.mark.parametrize("mode", ["sha256", "payload"])
def test_unsupported_checksum_mode_fails(bucket: stores.Bucket, settings: Settings, mode: str) -> None:
    settings.S3_CHECKSUMS = mode
    line = only(check_checksums())
    assert line.level is Level.FAIL
    assert "set S3_CHECKSUMS=off" in line.advice


@pytest.mark.parametrize(("mode", "expected"), [("off", "warn"), ("payload", "fail")])
def test_a_better_mode_is_recommended(
    digest_bucket: stores.Bucket, settings: Settings, mode: str, expected: str
) -> None:
    settings.S3_CHECKSUMS = mode
    line = only(check_checksums())
    assert line.level == expected
    assert line.advice.startswith("set S3_CHECKSUMS=sha256: ")


def verify_only_payload_hash(request: storage_proxies.Request) -> storage_proxies.Response | None:
    """Act as a storage that verifies SigV4's hash of the body and supports no flexible checksums."""
    sent = {name.lower(): value for name, value in request.headers.items()}
    digest = sent.get("x-amz-content-sha256")
    if digest and digest != hashlib.sha256(request.body).hexdigest():
        return storage_proxies.status(400, "XAmzContentSHA256Mismatch")(request)
    without = {name: value for name, value in request.headers.items() if name.lower() != "x-amz-checksum-sha256"}
    return storage_proxies.status(501, "NotImplemented")(request) if without != request.headers else request.forward()


@pytest.mark.parametrize(("mode", "expected"), [("payload", "ok"), ("off", "warn"), ("sha256", "fail")])
def test_storage_that_verifies_only_signed_hashes_is_detected(
    digest_bucket: stores.Bucket, settings: Settings, mode: str, expected: str
) -> None:
    settings.S3_CHECKSUMS = mode
    with storage_proxies.proxy_of_app(settings, digest_bucket) as proxy:
        proxy.rules |= {"put": verify_only_payload_hash, "part": verify_only_payload_hash}
        line = only(check_checksums())
    assert line.level == expected
    assert "payload" in line.reason + line.advice


def test_storage_must_also_verify_checksums_of_parts(digest_bucket: stores.Bucket, settings: Settings) -> None:
    with storage_proxies.proxy_of_app(settings, digest_bucket) as proxy:
        proxy.rules["part"] = lambda _request: storage_proxies.Response(200, {"ETag": '"x"'}, b"")
        line = only(check_checksums())
    assert line.level is Level.FAIL
    assert "a corrupted part is accepted" in line.reason


def test_changed_test_object_is_reported(storage_proxy: StorageProxy) -> None:
    changed = storage_proxies.Response(200, {"ETag": '"x"'}, b"something else")
    storage_proxy.rules["get"] = lambda request: changed if "/quarantine/doctor-" in request.url else request.forward()
    line = only(check_checksums())
    assert line.level is Level.FAIL
    assert "a download differs from its upload" in line.reason


@pytest.mark.parametrize("operation", ["put", "create", "get", "head"])
def test_interrupted_checksum_test_leaves_no_objects(
    storage_proxy: StorageProxy, bucket: stores.Bucket, operation: str, settings: Settings
) -> None:
    settings.S3_CHECKSUMS = "sha256"
    storage_proxy.rules[operation] = lambda request: (
        storage_proxies.status(500, "InternalError")(request)
        if "/quarantine/doctor-" in request.url
        else request.forward()
    )
    assert only(check_checksums()).level is Level.FAIL
    assert bucket.objects() == {}


@pytest.mark.parametrize(
    ("operation", "right"),
    [("put", "s3:PutObject, and with a KMS key also kms:GenerateDataKey"), ("create", "s3:PutObject"),
     ("abort", "s3:AbortMultipartUpload"), ("delete", "s3:DeleteObject")],
)  # fmt: skip
def test_missing_permission_is_named(storage_proxy: StorageProxy, operation: str, right: str) -> None:
    storage_proxy.rules[operation] = storage_proxies.status(403, "AccessDenied")
    line = only(check_checksums())
    assert line.level is Level.FAIL
    assert line.advice.startswith(f"allow {right}")


def test_leftovers_of_earlier_tests_are_removed(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.write("quarantine/doctor-left", b"x")
    bucket.write("quarantine/other", b"x")
    only(check_checksums())
    assert set(bucket.objects()) == {"quarantine/doctor-left", "quarantine/other"}  # another doctor may still use it
    monkeypatch.setattr(feature_probes, "LEFTOVER_AGE", timedelta(seconds=-5))
    only(check_checksums())
    assert set(bucket.objects()) == {"quarantine/other"}
