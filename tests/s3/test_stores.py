"""Two stores by name: each is used with its own endpoint, keys and rules."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support import factories
from tests.support.cloudfront import Signer
from tests.support.stores import Bucket
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import File

SECONDARY_SETTINGS = {
    "name": "old",
    "bucket": "amalga-old",
    "endpoint": "https://s3.old.example:9000",
    "region": "eu-west-1",
    "addressing": "path",
    "checksums": "sha256",
    "access_key_id": "OLDKEY",
    "secret_access_key": "old-secret",
}
KEY = "f/" + "0" * 32


@pytest.fixture
def secondary(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A second store that does not respond; keys of the default one are in the environment."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-main-stores-token")
    settings.SECONDARY_S3 = SECONDARY_SETTINGS
    s3.reset()
    yield
    s3.reset()


def signature_of(url: str) -> tuple[str, str, str, bool]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    key, _day, region, *_rest = query["X-Amz-Credential"][0].split("/")
    return parts.netloc + parts.path.rpartition("/f/")[0], key, region, "X-Amz-Security-Token" in query


SECONDARY = ("s3.old.example:9000/amalga-old", "OLDKEY", "eu-west-1", False)


def test_every_url_of_the_other_store_is_signed_with_its_own_keys(secondary: None) -> None:
    headers = {"disposition": "attachment", "content_type": "text/plain"}
    assert signature_of(s3.download_url(KEY, **headers, store="old")) == SECONDARY
    assert signature_of(s3.preview_url(KEY, content_type="text/plain", store="old")) == SECONDARY
    assert signature_of(s3.sign_put(KEY, size=1, sha256="x", store="old").url) == SECONDARY
    assert signature_of(s3.sign_part(KEY, "id", 1, size=1, sha256="x", store="old").url) == SECONDARY


def test_default_store_is_used_as_before(secondary: None, settings: Settings) -> None:
    address, key, _region, has_token = signature_of(s3.sign_put(KEY, size=1, sha256=None).url)
    assert address == f"{urlsplit(settings.S3_ENDPOINT).netloc}/{settings.S3_BUCKET}"
    assert (key != "OLDKEY", has_token) == (True, True)


def test_each_store_has_its_own_rule_for_digests(secondary: None, settings: Settings) -> None:
    assert (s3.keeps_digests(), s3.keeps_digests(""), s3.keeps_digests("old")) == (False, False, True)
    assert "x-amz-checksum-sha256" in s3.sign_put(KEY, size=1, sha256="x", store="old").headers
    assert "x-amz-checksum-sha256" not in s3.sign_put(KEY, size=1, sha256="x").headers
    settings.SECONDARY_S3 = {**SECONDARY_SETTINGS, "checksums": "payload"}
    assert (s3.keeps_digests("old"), s3.needs_digests("old")) == (False, True)


def test_custom_domain_applies_only_to_the_main_store(secondary: None, settings: Settings) -> None:
    signer = Signer("KOLD0000000001")
    options = {
        "custom_domain": "cdn.example.org", "cloudfront_key_id": signer.key_id, "cloudfront_key": signer.pem,
    }  # fmt: skip
    settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": options}}
    headers = {"disposition": "attachment", "content_type": "text/plain"}
    assert urlsplit(s3.download_url(KEY, **headers)).netloc == "cdn.example.org"
    assert signature_of(s3.download_url(KEY, **headers, store="old")) == SECONDARY


def test_unconfigured_store_is_unavailable_and_logged(
    alice: User, as_alice: Client, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    file = factories.create_file(alice, store="lost")
    with caplog.at_level(logging.ERROR):
        assert as_alice.get(f"/files/{file.pk}/download").status_code == 503
    assert 'name="lost"' in caplog.text
    assert "SECONDARY_S3_STORE_NAME" in caplog.text


def test_repr_of_a_store_contains_no_secrets(secondary: None) -> None:
    text = repr(s3.secondary_store())
    assert "old-secret" not in text
    assert "OLDKEY" not in text


@pytest.mark.parametrize("name", ["lost", "OLD", " old"])
def test_store_names_must_match_exactly(secondary: None, name: str) -> None:
    with pytest.raises(StorageUnavailable):
        s3.read(KEY, store=name)


def test_new_rows_have_the_name_of_the_main_store(alice: User, settings: Settings) -> None:
    settings.S3_STORE_NAME = "new"
    assert factories.create_file(alice).store == "new"
    assert File.objects.get().store == "new"
