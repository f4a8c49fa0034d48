"""The clock of the app's machine is wrong by twenty minutes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from tests.conftest import PROJECT, serving
from tests.faults.processes import environment
from tests.ops.test_outages import Call
from tests.support import factories, storage_proxies
from tests.support.form_client import Chosen, Form, Visitor
from tests.support.storage_proxies import Request, Response
from tests.support.stores import Address, Bucket
from tests.support.upload_client import put_bytes, sha256
from uploads.models import File, State
from uploads.models.querysets import seconds_from_now

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

TWENTY_MINUTES = 1200
TEN_MINUTES = 600  # storage still accepts signatures with this skew
MAX_CLOCK_SKEW_SECONDS = 900  # S3, "RequestTimeTooSkewed"
BODY = b"hello"
PART = 5 * 1024**2
LONG_FORM = pytest.mark.faults


def as_s3_does(request: Request) -> Response | None:
    """Reject requests whose signature is too old or too far in the future."""
    query = parse_qs(urlsplit(request.url).query)
    headers = {name.lower(): value for name, value in request.headers.items()}
    timestamp = query["X-Amz-Date"][0] if "X-Amz-Date" in query else headers["x-amz-date"]
    signed = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs((datetime.now(UTC) - signed).total_seconds()) > MAX_CLOCK_SKEW_SECONDS:
        return storage_proxies.status(403, "RequestTimeTooSkewed")(request)
    return request.forward()


@dataclass
class SkewedSite:
    """A site whose clock is wrong."""

    url: str
    log: Path


def skewed(skew: int) -> dict[str, str]:
    return {"PYTHONPATH": str(PROJECT / "tests" / "faults" / "skew"), "SKEW_SECONDS": str(skew)}


@contextmanager
def skewed_by(skew: int, folder: Path) -> Iterator[SkewedSite]:
    with storage_proxies.run_storage_proxy(Address.of_this_run().endpoint) as store:
        store.rules["*"] = as_s3_does
        variables = {"AWS_ENDPOINT_URL_S3": store.url, "UPLOAD_PART_BYTES": str(PART), **skewed(skew)}
        with serving(folder, variables) as url:
            yield SkewedSite(url, folder / "web.log")


@pytest.mark.parametrize(
    "skew", [pytest.param(TWENTY_MINUTES, marks=LONG_FORM, id="ahead"), pytest.param(-TWENTY_MINUTES, id="behind")]
)
def test_uploads_are_refused_and_the_log_says_why(skew: int, alice: User, bucket: Bucket, tmp_path: Path) -> None:
    small = factories.create_file(alice, BODY, state=State.UPLOADING, bucket=bucket)
    large = factories.create_file(alice, b"x" * (PART + 1), state=State.UPLOADING, part_size=PART)
    claim = {"id": str(small.pk), "sha256": [sha256(BODY)]}
    with skewed_by(skew, tmp_path) as skewed_site:
        visitor = Visitor(skewed_site.url, alice).open_form()
        responses = [
            Call("POST", f"/uploads/{large.pk}/parts/", {"parts": [{"number": 1}]}).by(visitor),
            Call("POST", "/uploads/finish/", {"files": [claim]}).by(visitor),
            Call("POST", "/upload/", Form([Chosen("plain.txt", BODY)])).by(visitor),
        ]
        item = {"token": str(uuid.uuid4()), "name": "new.txt", "size": len(BODY), "sha256": sha256(BODY)}
        begun = time.time()
        (upload,) = json.loads(Call("POST", "/uploads/", {"files": [item]}).by(visitor).body)["files"]
        assert put_bytes(upload["parts"][0], BODY).status == 403
        pages = [visitor.request("GET", path)[0].status for path in ("/", "/unfinished/", "/trash/")]
    assert [(response.status, response.headers["Retry-After"]) for response in responses] == [(503, "5")] * 3
    assert pages == [200] * 3
    assert not File.objects.available().exists()
    lines = [line for line in skewed_site.log.read_text().splitlines() if "clock_skew" in line]
    assert lines
    assert f"{'ahead of' if skew > 0 else 'behind'} that of the storage by {TWENTY_MINUTES // 60} minutes" in lines[0]
    expires = File.objects.get(pk=upload["id"]).expires_at
    assert expires
    life = timedelta(hours=settings.UPLOAD_EXPIRY_HOURS).total_seconds()
    assert abs(expires.timestamp() - begun - life) < 60  # by the database's clock


@pytest.mark.parametrize(
    "skew", [pytest.param(TEN_MINUTES, id="ahead"), pytest.param(-TEN_MINUTES, marks=LONG_FORM, id="behind")]
)
def test_deadlines_follow_the_database_clock(skew: int, alice: User, bucket: Bucket) -> None:
    soon, past = seconds_from_now(TEN_MINUTES / 2), timezone.now() - timedelta(minutes=5)
    living = [
        factories.create_file(alice, BODY, state=State.UPLOADING, expires_at=soon),
        factories.create_file(alice, BODY, state=State.COMPLETING, lease_until=soon),
        factories.create_file(alice, BODY, state=State.TRASHED, purge_after=soon, bucket=bucket),
        factories.create_file(alice, BODY, state=State.DELETING, signed_until=soon),
    ]
    due = [
        factories.create_file(alice, BODY, state=State.UPLOADING, expires_at=past),
        factories.create_file(alice, BODY, state=State.TRASHED, purge_after=past, bucket=bucket),
    ]
    sweep = [sys.executable, "manage.py", "sweep"]
    done = subprocess.run(sweep, cwd=PROJECT, env=environment(**skewed(skew)), capture_output=True, timeout=60)
    assert done.returncode in {0, 1}, done.stderr
    states = {file.pk: file.state for file in File.objects.all()}
    assert [states.get(file.pk) for file in living] == [file.state for file in living]
    assert not {states.get(file.pk) for file in due} & {State.UPLOADING, State.TRASHED}
