"""`doctor` before the store: each thing that can be wrong is wrong for real, and told apart from the others."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as live
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests import fronts, stores
from uploads import s3
from uploads.models import Installation
from uploads.s3.trial import digests
from uploads.services.doctor import Level, Line, limits
from uploads.services.doctor.bucket import digest_lines, marker_lines, page_lines
from uploads.services.doctor.limits import Budget
from uploads.services.doctor.store import credential_lines, reach_lines, store_checks

pytestmark = pytest.mark.django_db

ORIGIN = "https://files.example.org"
EVIL = "CORS from https://evil.example"


def examined(*origins: str) -> dict[str, Line]:
    """The worst line of each subject."""
    worst: dict[str, Line] = {}
    for line in store_checks(Budget(30), origins or [ORIGIN]):
        known = worst.get(line.subject)
        if known is None or [*Level].index(line.level) > [*Level].index(known.level):
            worst[line.subject] = line
    return worst


def one(lines: Iterable[Line]) -> Line:
    (line,) = lines
    return line


def level(lines: dict[str, Line], subject: str) -> str:
    return str(lines[subject].level)


@pytest.fixture
def front(bucket: stores.Bucket, settings: Settings) -> Iterator[fronts.Front]:
    """Between the app and the store of this run."""
    with fronts.in_front_of(bucket.address.endpoint) as front:
        settings.S3_ENDPOINT = settings.S3_ORIGIN = front.url
        s3.reset()
        yield front
    s3.reset()


@pytest.fixture
def safe(fresh: stores.Bucket) -> stores.Bucket:
    """As `provision` leaves it."""
    call_command("provision", "--apply", stdout=io.StringIO())
    return fresh


# --- a bucket as it should be, and one point after the other as it should not -----------------


def test_a_bucket_as_wanted_is_ok_in_every_point(safe: stores.Bucket) -> None:
    lines = examined()
    told = {subject for subject, line in lines.items() if line.level is not Level.OK}
    # this store answers whoever asks, signed or not: an open bucket if ever there was one
    assert told == {"bucket to strangers"}
    assert lines["bucket to strangers"].reason == "anybody on the network may list the bucket and read an object"
    assert safe.objects().keys() == {"amalga.json"}


def test_a_bucket_with_nothing_chosen_is_told_point_by_point(fresh: stores.Bucket) -> None:
    fresh.client.create_bucket(Bucket=fresh.name)
    fresh.client.delete_public_access_block(Bucket=fresh.name)
    fresh.client.delete_bucket_ownership_controls(Bucket=fresh.name)
    lines = examined()
    for point in ("public access", "CORS"):
        assert level(lines, f"bucket {point}") == "fail"
    for subject in ("bucket object ownership", "bucket policy", "bucket versioning", "bucket lifecycle", "marker"):
        assert level(lines, subject) == "warn"
    assert lines[f"CORS from {ORIGIN}"].reason == "a browser will not send files: it answers 403"


def test_a_store_without_settings_closes_to_strangers_by_its_keys(bucket: stores.Bucket) -> None:
    lines = examined("http://localhost:8000")
    assert level(lines, "bucket to strangers") == "ok"
    assert level(lines, "CORS from http://localhost:8000") == "ok"
    assert lines["bucket encryption"].reason == "this store has no encryption setting"
    assert not [line for line in lines.values() if line.level is Level.FAIL]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}, "removes our files"),
        ({"Filter": {"Prefix": "f/ab"}, "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}, "moves our files"),
        ({"Filter": {"Prefix": "f/"}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, "aborts uploads"),
        ({"Filter": {"Prefix": "p"}, "NoncurrentVersionExpiration": {"NoncurrentDays": 2}}, "for 2 days only"),
    ],
)
def test_a_rule_of_somebody_elses_that_takes_our_files_is_told(
    safe: stores.Bucket, rule: dict[str, Any], told: str
) -> None:
    rules = safe.client.get_bucket_lifecycle_configuration(Bucket=safe.name)["Rules"]
    theirs: Any = [{"ID": "theirs", "Status": "Enabled", **rule}, *rules]
    safe.client.put_bucket_lifecycle_configuration(Bucket=safe.name, LifecycleConfiguration={"Rules": theirs})
    line = examined()["bucket lifecycle"]
    assert line.level is Level.FAIL
    assert "'theirs'" in line.reason
    assert told in line.reason


def test_a_rule_about_something_else_is_left_in_peace(safe: stores.Bucket) -> None:
    rules = safe.client.get_bucket_lifecycle_configuration(Bucket=safe.name)["Rules"]
    logs: Any = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 1}}
    off: Any = {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    safe.client.put_bucket_lifecycle_configuration(
        Bucket=safe.name, LifecycleConfiguration={"Rules": [logs, off, *rules]}
    )
    assert level(examined(), "bucket lifecycle") == "ok"


def test_the_marker_of_another_database_fails(bucket: stores.Bucket) -> None:
    other = uuid4()
    s3.write_marker(other)
    own = Installation.objects.own_id()
    line = one(marker_lines(own))
    assert line.level is Level.FAIL
    assert str(other) in line.reason
    assert str(own) in line.reason
    bucket.write("amalga.json", b"hello")
    assert one(marker_lines(own)).level is Level.FAIL


# --- CORS as a browser meets it ---------------------------------------------------------------


def test_every_origin_of_ours_is_asked_for(safe: stores.Bucket) -> None:
    lines = examined(ORIGIN, "https://second.example.org")
    assert level(lines, f"CORS from {ORIGIN}") == "ok"
    assert level(lines, "CORS from https://second.example.org") == "fail"


def test_a_header_that_may_not_be_sent_fails(safe: stores.Bucket) -> None:
    (rule,) = safe.client.get_bucket_cors(Bucket=safe.name)["CORSRules"]
    rule["AllowedHeaders"] = ["content-type", "if-none-match"]
    safe.client.put_bucket_cors(Bucket=safe.name, CORSConfiguration={"CORSRules": [rule]})
    assert one(page_lines(ORIGIN)).level is Level.FAIL


def test_a_missing_header_is_named_where_the_store_names_those_it_takes(
    bucket: stores.Bucket, settings: Settings
) -> None:
    settings.S3_CHECKSUMS = "sha256"  # the store of a laptop lets no header of S3's through
    assert one(page_lines("http://localhost:8000")).reason.endswith(
        "if-none-match, x-amz-checksum-sha256 is not allowed"
    )


def test_a_bucket_that_lets_every_page_in_fails_on_a_network(safe: stores.Bucket, settings: Settings) -> None:
    anybody: Any = {"AllowedOrigins": ["*"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
    safe.client.put_bucket_cors(Bucket=safe.name, CORSConfiguration={"CORSRules": [anybody]})
    settings.S3_ORIGIN = "https://s3.example.org"  # only its name is looked at
    lines = examined()
    assert level(lines, EVIL) == "fail"
    assert level(lines, f"CORS from {ORIGIN}") == "ok"


def test_settings_that_leave_open_where_the_pages_are_are_told(bucket: stores.Bucket, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    lines = {line.subject: line for line in store_checks(Budget(30), [])}
    assert level(lines, "CORS") == "warn"
    assert "--origin" in lines["CORS"].advice
    assert EVIL in lines


# --- the store is not there, or not ours ------------------------------------------------------


def test_a_bucket_that_is_not_there(bucket: stores.Bucket, settings: Settings) -> None:
    settings.S3_BUCKET = "no-such-bucket"
    lines = examined()
    assert "there is no bucket no-such-bucket" in lines["store"].reason
    assert "provision --apply" in lines["store"].advice
    assert set(lines) == {"credentials", "store", "bucket"}


def test_a_bucket_in_another_region(fresh: stores.Bucket) -> None:
    where: Any = {"LocationConstraint": "eu-west-1"}
    fresh.client.create_bucket(Bucket=fresh.name, CreateBucketConfiguration=where)
    line = one(reach_lines())
    assert line.level is Level.FAIL
    assert line.advice == "set AWS_DEFAULT_REGION=eu-west-1"


def test_a_store_that_names_another_region_itself(front: fronts.Front) -> None:
    told = {"x-amz-bucket-region": "eu-west-3"}
    front.rules["*"] = fronts.status(400, "AuthorizationHeaderMalformed", headers=told)
    assert one(reach_lines()).advice == "set AWS_DEFAULT_REGION=eu-west-3"


def test_a_wrong_secret(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-at-all")
    s3.reset()
    line = one(reach_lines())
    s3.reset()
    assert line.reason.endswith("the secret does not fit the access key")
    assert line.advice == "correct AWS_SECRET_ACCESS_KEY"


@pytest.mark.parametrize(
    ("mine", "told"),
    [(True, "is ours, but may not be listed"), (False, "belongs to somebody else"),
     (None, "may not be listed, or belongs to somebody else")],
)  # fmt: skip
def test_a_refusal_is_told_by_whose_the_bucket_is(front: fronts.Front, mine: bool | None, told: str) -> None:
    names = f"<Bucket><Name>{live.S3_BUCKET if mine else 'other'}</Name></Bucket>"
    listing = f"<ListAllMyBucketsResult><Buckets>{names}</Buckets></ListAllMyBucketsResult>".encode()
    denied = fronts.status(403, "AccessDenied")

    def refuse(request: fronts.Request) -> fronts.Answer | None:
        if live.S3_BUCKET in request.url or mine is None:
            return denied(request)
        return fronts.Answer(200, {"Content-Type": "application/xml"}, listing)

    front.rules["*"] = refuse
    assert told in one(reach_lines()).reason


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (fronts.status(403, "InvalidAccessKeyId"), "it knows no such access key"),
        (fronts.status(400, "ExpiredToken"), "the credentials have expired"),
        (fronts.status(500, "InternalError"), "a fault of its own (InternalError)"),
        (fronts.status(503, "SlowDown"), "a fault of its own (SlowDown)"),
        (fronts.page(200), "without a word of S3's"),
        (fronts.broken, "it breaks connections off"),
        (fronts.status(418, "Teapot"), "it answers Teapot"),
    ],
)
def test_each_fault_of_the_store_has_its_own_words(front: fronts.Front, rule: fronts.Rule, told: str) -> None:
    front.rules["*"] = rule
    line = one(reach_lines())
    assert line.level is Level.FAIL
    assert told in line.reason
    assert line.advice


def test_nobody_answers(bucket: stores.Bucket, settings: Settings) -> None:
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    s3.reset()
    assert one(reach_lines()).reason.endswith("nobody answers there")
    s3.reset()


def test_a_store_that_hangs_is_given_up(front: fronts.Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECK_SECONDS", 0.5)
    front.rules["*"] = front.hang
    before = time.monotonic()
    assert "no answer within" in examined()["store"].reason
    assert time.monotonic() - before < 3


def test_one_question_that_hangs_leaves_the_others(front: fronts.Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHECK_SECONDS", 2.0)
    front.rules["*"] = lambda request: front.hang(request) if "?policy" in request.url else request.forward()
    lines = examined()
    assert level(lines, "bucket policy") == "fail"
    assert level(lines, "bucket to strangers") == level(lines, "digests") == "ok"


def test_when_the_time_is_over_the_rest_says_so(front: fronts.Front, monkeypatch: pytest.MonkeyPatch) -> None:
    front.rules["*"] = lambda request: front.hang(request) if "?policy" in request.url else request.forward()
    lines = {line.subject: line for line in store_checks(Budget(1), [ORIGIN])}
    assert "no time left" in lines["digests"].reason


# --- credentials ------------------------------------------------------------------------------


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3.reset()
    yield monkeypatch
    s3.reset()


def test_no_credentials_at_all(bucket: stores.Bucket, no_keys: pytest.MonkeyPatch) -> None:
    lines = examined()
    assert lines["credentials"].reason == "boto3 finds none"
    assert set(lines) == {"credentials", "bucket"}


def test_half_of_the_credentials(bucket: stores.Bucket, no_keys: pytest.MonkeyPatch) -> None:
    no_keys.setenv("AWS_ACCESS_KEY_ID", "only-this")
    assert "PartialCredentialsError" in one(credential_lines()).reason


def test_temporary_credentials_that_nobody_renews(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    s3.reset()
    line = one(credential_lines())
    s3.reset()
    assert (line.level, "nobody renews them" in line.reason) == (Level.WARN, True)


def test_the_role_of_a_container_says_for_how_long(
    bucket: stores.Bucket, no_keys: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its credentials are served on an address, here by a front that has some."""
    until = (datetime.now(UTC) + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {"AccessKeyId": "one", "SecretAccessKey": "two", "Token": "three", "Expiration": until}
    answer = fronts.Answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())
    with fronts.in_front_of("http://127.0.0.1:9") as server:
        server.rules["*"] = lambda _request: answer
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/role")
        line = one(credential_lines())
    assert line.level is Level.OK
    assert line.reason.startswith("from the role of the container; renewed by itself, these last for 3 hours")


def test_keys_for_ever_are_told_where_roles_are_to_be_had(
    bucket: stores.Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.S3_ENDPOINT = "https://s3.eu-west-1.amazonaws.com.invalid"
    monkeypatch.setattr("uploads.services.doctor.store.at_aws", lambda: True)
    s3.reset()
    line = one(credential_lines())
    s3.reset()
    assert (line.level, line.advice) == (Level.WARN, "use a role")


# --- clocks -----------------------------------------------------------------------------------


def of_another_time(front: fronts.Front, seconds: float) -> None:
    told = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    front.server.RequestHandlerClass.date_time_string = lambda *_: told  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "expected", "told"),
    [(0, "ok", "agrees"), (90, "warn", "ahead of"), (-90, "warn", "behind"),
     (1200, "fail", "20 minutes ahead of"), (-1200, "fail", "20 minutes behind")],
)  # fmt: skip
def test_a_store_of_another_time_is_told(front: fronts.Front, seconds: float, expected: str, told: str) -> None:
    of_another_time(front, seconds)
    line = [*reach_lines()][-1]
    assert line.level == expected
    assert told in line.reason


def test_a_refusal_for_the_clock_is_told_as_such(front: fronts.Front) -> None:
    of_another_time(front, -1200)
    front.rules["*"] = fronts.FAULTS["clock"]
    lines = examined()
    assert lines["store"].reason == "it refuses what we sign, because the clocks do not agree"
    assert "20 minutes behind" in lines["store clock"].reason


# --- digests ----------------------------------------------------------------------------------


def test_a_store_that_verifies_is_ok(digest_bucket: stores.Bucket) -> None:
    line = one(digest_lines())
    assert line.level is Level.OK
    assert line.reason.endswith("(tried; the store honours sha256, off)")
    assert digest_bucket.objects() == {}
    assert digest_bucket.multipart_uploads() == []


@pytest.mark.parametrize("mode", ["sha256", "payload"])
def test_a_mode_that_the_store_does_not_honour_fails(bucket: stores.Bucket, settings: Settings, mode: str) -> None:
    settings.S3_CHECKSUMS = mode
    line = one(digest_lines())
    assert line.level is Level.FAIL
    assert "set S3_CHECKSUMS=off" in line.advice


@pytest.mark.parametrize(("mode", "expected"), [("off", "warn"), ("payload", "fail")])
def test_a_better_mode_is_recommended(
    digest_bucket: stores.Bucket, settings: Settings, mode: str, expected: str
) -> None:
    settings.S3_CHECKSUMS = mode
    line = one(digest_lines())
    assert line.level == expected
    assert line.advice.startswith("set S3_CHECKSUMS=sha256: ")


def holds_to_the_hash(request: fronts.Request) -> fronts.Answer | None:
    """As a store does that knows no flexible checksums, and SigV4's own hash of the body."""
    sent = {name.lower(): value for name, value in request.headers.items()}
    told = sent.get("x-amz-content-sha256")
    if told and told != hashlib.sha256(request.body).hexdigest():
        return fronts.status(400, "XAmzContentSHA256Mismatch")(request)
    without = {name: value for name, value in request.headers.items() if name.lower() != "x-amz-checksum-sha256"}
    return fronts.status(501, "NotImplemented")(request) if without != request.headers else request.forward()


@pytest.mark.parametrize(("mode", "expected"), [("payload", "ok"), ("off", "warn"), ("sha256", "fail")])
def test_a_store_that_knows_only_signed_hashes_is_found_out(
    digest_bucket: stores.Bucket, settings: Settings, mode: str, expected: str
) -> None:
    with fronts.in_front_of(digest_bucket.address.endpoint) as front:
        settings.S3_ENDPOINT, settings.S3_CHECKSUMS = front.url, mode
        s3.reset()
        front.rules |= {"put": holds_to_the_hash, "part": holds_to_the_hash}
        line = one(digest_lines())
    s3.reset()
    assert line.level == expected
    assert "payload" in line.reason + line.advice


def test_a_digest_that_counts_only_for_whole_files_is_not_enough(
    digest_bucket: stores.Bucket, settings: Settings
) -> None:
    with fronts.in_front_of(digest_bucket.address.endpoint) as front:
        settings.S3_ENDPOINT = front.url
        s3.reset()
        front.rules["part"] = lambda _request: fronts.Answer(200, {"ETag": '"x"'}, b"")
        line = one(digest_lines())
    s3.reset()
    assert line.level is Level.FAIL
    assert "a flipped bit is taken in a part" in line.reason


def test_bytes_that_come_back_changed_are_told(front: fronts.Front) -> None:
    changed = fronts.Answer(200, {"ETag": '"x"'}, b"something else")
    front.rules["get"] = lambda request: changed if "/quarantine/doctor-" in request.url else request.forward()
    line = one(digest_lines())
    assert line.level is Level.FAIL
    assert "other bytes come back than were sent" in line.reason


@pytest.mark.parametrize("operation", ["put", "create", "get", "head"])
def test_a_trial_that_breaks_off_leaves_nothing(
    front: fronts.Front, bucket: stores.Bucket, operation: str, settings: Settings
) -> None:
    settings.S3_CHECKSUMS = "sha256"
    front.rules[operation] = lambda request: (
        fronts.status(500, "InternalError")(request) if "/quarantine/doctor-" in request.url else request.forward()
    )
    assert one(digest_lines()).level is Level.FAIL
    assert bucket.objects() == {}


def test_what_an_earlier_trial_left_is_removed(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.write("quarantine/doctor-left", b"x")
    bucket.write("quarantine/other", b"x")
    one(digest_lines())
    assert set(bucket.objects()) == {"quarantine/doctor-left", "quarantine/other"}  # it may belong to one at work now
    monkeypatch.setattr(digests, "LEFT_BEHIND", timedelta(seconds=-5))
    one(digest_lines())
    assert set(bucket.objects()) == {"quarantine/other"}


# --- the command ------------------------------------------------------------------------------


def doctor(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=out, stderr=out, no_color=True)
    except CommandError as error:
        return error.returncode, out.getvalue() + str(error)
    return 0, out.getvalue()


def test_warnings_alone_end_well(bucket: stores.Bucket) -> None:
    status, told = doctor()
    assert status == 0
    assert "\nok   store: " in told
    assert "\nwarn marker: nothing says which database the bucket belongs to — run `manage.py provision`" in told
    assert told.splitlines()[-1].endswith(" 0 fail")


def test_a_failure_ends_in_one(bucket: stores.Bucket, settings: Settings) -> None:
    settings.S3_BUCKET = "no-such-bucket"
    status, told = doctor()
    assert status == 1
    assert "\nfail store: there is no bucket" in told


def test_an_origin_that_is_none_is_refused(bucket: stores.Bucket) -> None:
    assert doctor("--origin", "files.example.org")[0] == 2


def test_machines_get_one_object(bucket: stores.Bucket) -> None:
    status, told = doctor("--json")
    found = json.loads(told)
    assert status == found["fail"] == 0
    assert {"level", "subject", "reason", "advice"} == set(found["lines"][0])
    assert all(line["advice"] for line in found["lines"] if line["level"] != "ok")


@pytest.mark.parametrize("fault", ["403", "broken"])
def test_no_secret_is_ever_shown(
    front: fronts.Front, fault: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    address = stores.Address.of_this_run()
    secrets = [address.key, address.secret, live.SECRET_KEY, live.DATABASES["default"]["PASSWORD"], "X-Amz-Signature"]
    for rules in ({}, {"*": fronts.FAULTS[fault]}, {"put": fronts.FAULTS[fault]}):
        front.rules = dict(rules)
        said = doctor()[1] + doctor("--json")[1] + caplog.text
        assert said
        assert not [secret for secret in secrets if secret in said]
