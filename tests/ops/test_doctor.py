"""Storage checks of `doctor`: each problem is real and has its own message."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.conf import settings as live
from pytest_django import Settings

from tests.support import storage_proxies, stores
from tests.support.commands import run_command
from tests.support.doctor_results import ORIGIN, examined, level, only
from tests.support.storage_proxies import StorageProxy
from uploads import s3
from uploads.services.doctor import Level, results
from uploads.services.doctor.results import Deadline
from uploads.services.doctor.storage import check_credentials, check_endpoint, store_checks

pytestmark = pytest.mark.django_db


# --- unavailable or foreign storage -----------------------------------------------------------


def test_missing_bucket_is_reported(bucket: stores.Bucket, settings: Settings) -> None:
    settings.S3_BUCKET = "no-such-bucket"
    lines = examined()
    assert "the bucket no-such-bucket does not exist" in lines["storage"].reason
    assert "provision --apply" in lines["storage"].advice
    assert set(lines) == {"credentials", "storage", "bucket"}


def test_bucket_in_another_region_is_reported(fresh: stores.Bucket) -> None:
    where: Any = {"LocationConstraint": "eu-west-1"}
    fresh.client.create_bucket(Bucket=fresh.name, CreateBucketConfiguration=where)
    line = only(check_endpoint())
    assert line.level is Level.FAIL
    assert line.advice == "set AWS_DEFAULT_REGION=eu-west-1"


def test_region_named_by_the_storage_is_advised(storage_proxy: StorageProxy) -> None:
    headers = {"x-amz-bucket-region": "eu-west-3"}
    storage_proxy.rules["*"] = storage_proxies.status(400, "AuthorizationHeaderMalformed", headers=headers)
    assert only(check_endpoint()).advice == "set AWS_DEFAULT_REGION=eu-west-3"


def test_wrong_secret_key_is_reported(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-at-all")
    s3.reset()
    line = only(check_endpoint())
    s3.reset()
    assert line.reason.endswith("wrong secret key")
    assert line.advice == "correct AWS_SECRET_ACCESS_KEY"


@pytest.mark.parametrize(
    ("mine", "reason"),
    [(True, "access denied: the bucket"), (False, "belongs to another account"),
     (None, "cannot be listed, or belongs to another account")],
)  # fmt: skip
def test_access_denied_message_depends_on_the_bucket_owner(
    storage_proxy: StorageProxy, mine: bool | None, reason: str
) -> None:
    names = f"<Bucket><Name>{live.S3_BUCKET if mine else 'other'}</Name></Bucket>"
    listing = f"<ListAllMyBucketsResult><Buckets>{names}</Buckets></ListAllMyBucketsResult>".encode()
    denied = storage_proxies.status(403, "AccessDenied")

    def refuse(request: storage_proxies.Request) -> storage_proxies.Response | None:
        if live.S3_BUCKET in request.url or mine is None:
            return denied(request)
        return storage_proxies.Response(200, {"Content-Type": "application/xml"}, listing)

    storage_proxy.rules["*"] = refuse
    assert reason in only(check_endpoint()).reason


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (storage_proxies.status(403, "InvalidAccessKeyId"), "unknown access key"),
        (storage_proxies.status(400, "ExpiredToken"), "the credentials have expired"),
        (storage_proxies.status(500, "InternalError"), "internal error InternalError"),
        (storage_proxies.status(503, "SlowDown"), "internal error SlowDown"),
        (storage_proxies.page(200), "not from S3"),
        (storage_proxies.broken, "connection closed"),
        (storage_proxies.status(418, "Teapot"), "error Teapot"),
    ],
)
def test_each_storage_error_has_its_own_message(
    storage_proxy: StorageProxy, rule: storage_proxies.Rule, reason: str
) -> None:
    storage_proxy.rules["*"] = rule
    line = only(check_endpoint())
    assert line.level is Level.FAIL
    assert reason in line.reason
    assert line.advice


def test_unreachable_storage_is_reported(bucket: stores.Bucket, settings: Settings) -> None:
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    s3.reset()
    assert only(check_endpoint()).reason.endswith("cannot connect")
    s3.reset()


def test_unresponsive_storage_times_out(storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "CHECK_SECONDS", 0.5)
    storage_proxy.rules["*"] = storage_proxy.hang
    before = time.monotonic()
    assert "timed out after" in examined()["storage"].reason
    assert time.monotonic() - before < 3


def test_hanging_request_does_not_stop_other_checks(
    storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "CHECK_SECONDS", 1.5)
    storage_proxy.rules["*"] = lambda request: (
        storage_proxy.hang(request) if "?policy" in request.url else request.forward()
    )
    lines = examined()
    assert level(lines, "bucket policy") == "fail"
    assert level(lines, "bucket anonymous access") == level(lines, "checksums") == "ok"


def test_checks_after_the_deadline_report_no_time_left(
    storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_proxy.rules["*"] = lambda request: (
        storage_proxy.hang(request) if "?policy" in request.url else request.forward()
    )
    lines = {line.subject: line for line in store_checks(Deadline(1), [ORIGIN])}
    assert "no time left" in lines["checksums"].reason


# --- credentials ------------------------------------------------------------------------------


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3.reset()
    yield monkeypatch
    s3.reset()


def test_missing_credentials_are_reported(bucket: stores.Bucket, no_keys: pytest.MonkeyPatch) -> None:
    lines = examined()
    assert lines["credentials"].reason == "not found"
    assert set(lines) == {"credentials", "bucket"}


def test_incomplete_credentials_are_reported(bucket: stores.Bucket, no_keys: pytest.MonkeyPatch) -> None:
    no_keys.setenv("AWS_ACCESS_KEY_ID", "only-this")
    assert only(check_credentials()).reason == "not available: incomplete"


def test_static_temporary_credentials_are_reported(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    s3.reset()
    line = only(check_credentials())
    s3.reset()
    assert (line.level, "are not renewed" in line.reason) == (Level.WARN, True)


@pytest.mark.parametrize(
    ("seconds", "expected", "reason"),
    [(3 * 3600 + 30, "ok", "from the role of the container, renewed automatically, valid for 3 hours"),
     (300, "warn", "from the role of the container. They expire in "),
     (-300, "fail", "not available: already expired")],
)  # fmt: skip
def test_container_role_reports_remaining_validity(
    no_keys: pytest.MonkeyPatch, seconds: int, expected: str, reason: str
) -> None:
    """A local server provides the credentials of the role."""
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    credentials = {"AccessKeyId": "one", "SecretAccessKey": "two", "Token": "three", "Expiration": until}
    response = storage_proxies.Response(200, {"Content-Type": "application/json"}, json.dumps(credentials).encode())
    with storage_proxies.run_storage_proxy("http://127.0.0.1:9") as server:
        server.rules["*"] = lambda _request: response
        no_keys.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/role")
        line = only(check_credentials())
    assert line.level == expected
    assert line.reason.startswith(reason)


def test_permanent_keys_on_aws_are_reported(
    bucket: stores.Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.S3_ENDPOINT = "https://s3.eu-west-1.amazonaws.com.invalid"
    monkeypatch.setattr("uploads.services.doctor.storage.at_aws", lambda: True)
    s3.reset()
    line = only(check_credentials())
    s3.reset()
    assert (line.level, line.advice) == (Level.WARN, "use a role")


# --- clocks -----------------------------------------------------------------------------------


def shift_clock(storage_proxy: StorageProxy, seconds: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    storage_proxy.server.RequestHandlerClass.date_time_string = lambda *_: date  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "expected", "reason"),
    [(0, "ok", "seconds of skew"), (90, "warn", "ahead of"), (-90, "warn", "behind"),
     (1200, "fail", "20 minutes ahead of"), (-1200, "fail", "20 minutes behind")],
)  # fmt: skip
def test_clock_skew_of_storage_is_reported(
    storage_proxy: StorageProxy, seconds: float, expected: str, reason: str
) -> None:
    shift_clock(storage_proxy, seconds)
    line = [*check_endpoint()][-1]
    assert line.level == expected
    assert reason in line.reason


def test_refusal_due_to_clock_skew_is_reported(storage_proxy: StorageProxy) -> None:
    shift_clock(storage_proxy, -1200)
    storage_proxy.rules["*"] = storage_proxies.FAULTS["clock"]
    lines = examined()
    assert lines["storage"].reason == "requests are rejected because of clock skew"
    assert "20 minutes behind" in lines["storage clock"].reason


# --- the command ------------------------------------------------------------------------------


def run_doctor(*arguments: str) -> tuple[int, str]:
    """Return the exit status and the text of both streams."""
    status, output, errors = run_command("doctor", *arguments)
    return status, output + errors


def test_warnings_alone_exit_with_zero(unmarked: stores.Bucket) -> None:
    status, output = run_doctor()
    assert status == 0, output
    assert "\nOK    storage: " in output
    missing = "WARN  marker: missing: the bucket does not name its database. Fix: run `manage.py provision --apply`."
    assert missing in output.splitlines()
    assert output.splitlines()[-1].endswith(" 0 failures")


def test_failure_exits_with_one(bucket: stores.Bucket, settings: Settings) -> None:
    settings.S3_BUCKET = "no-such-bucket"
    status, output = run_doctor()
    assert status == 1
    assert "\nFAIL  storage: the bucket " in output


def test_invalid_origin_is_rejected(bucket: stores.Bucket) -> None:
    assert run_doctor("--origin", "files.example.org")[0] == 2


def test_json_report_is_one_object(bucket: stores.Bucket) -> None:
    status, output = run_doctor("--json")
    assert status == 0, output
    report = json.loads(output)
    assert status == report["fail"] == 0
    assert {"level", "area", "subject", "reason", "advice"} == set(report["checks"][0])
    assert all(line["advice"] for line in report["checks"] if line["level"] != "ok")


def test_no_secret_is_ever_shown(
    storage_proxy: StorageProxy, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    address = stores.Address.of_this_run()
    secrets = [address.key, address.secret, live.SECRET_KEY, live.DATABASES["default"]["PASSWORD"], "X-Amz-Signature"]
    faults: list[dict[str, storage_proxies.Rule]] = [
        {"*": storage_proxies.FAULTS["403"]},
        {"put": storage_proxies.FAULTS["page 403"]},
        {"get": storage_proxies.broken},
    ]
    for rules in faults:
        storage_proxy.rules = dict(rules)
        output = run_doctor()[1] + caplog.text
        assert "FAIL " in output
        assert not [secret for secret in secrets if secret in output]
