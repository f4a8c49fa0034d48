"""CloudFront check of `doctor`: one line that names the problem."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.support import cloudfront as edges
from tests.support.certificate_authority import CertificateAuthority
from tests.support.cloudfront import Edge, Signer, run_cloudfront
from tests.support.doctor_results import examined, only
from tests.support.stores import Bucket
from uploads import s3
from uploads.services.doctor.storage import check_cloudfront

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer("KDOCTOR0000001")


@pytest.fixture
def cloudfront(
    bucket: Bucket, authority: CertificateAuthority, signer: Signer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Edge]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with run_cloudfront(bucket, authority, signer) as cloudfront:
        options = {"custom_domain": cloudfront.domain, "cloudfront_key_id": signer.key_id, "cloudfront_key": signer.pem}
        settings.CLOUDFRONT = options
        settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": options}}
        s3.reset()
        yield cloudfront
    s3.reset()


def first_line() -> str:
    line = only(check_cloudfront())
    return f"{line.level} {line.reason}"


def test_cloudfront_checks_are_skipped_without_cloudfront(bucket: Bucket) -> None:
    assert "CloudFront" not in examined()


def test_working_cloudfront_is_reported_as_ok(cloudfront: Edge) -> None:
    assert str(examined()["CloudFront"].level) == "ok"
    assert first_line() == f"ok {cloudfront.domain} serves only presigned URLs"


def test_key_missing_in_the_key_group_is_reported(cloudfront: Edge) -> None:
    cloudfront.group.clear()
    assert first_line() == f"fail {cloudfront.domain} rejects our signatures (403)"


def test_distribution_without_signatures_is_reported(cloudfront: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Edge, "is_signed", lambda *_: True)
    assert first_line() == f"fail {cloudfront.domain} serves files without a signature"


@pytest.mark.parametrize("passed", [set(), edges.OVERRIDES - {"response-content-language"}], ids=["none", "old"])
def test_cache_policy_that_drops_headers_is_reported(
    cloudfront: Edge, monkeypatch: pytest.MonkeyPatch, passed: set[str]
) -> None:
    monkeypatch.setattr(edges, "OVERRIDES", passed)
    assert first_line() == f"fail {cloudfront.domain} serves files without all signed headers"


def test_unknown_or_wrong_host_is_reported(cloudfront: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    s3.reset()
    assert first_line() == f"fail cannot connect to {cloudfront.domain} (SSLError)"
