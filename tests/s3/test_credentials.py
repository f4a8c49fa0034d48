"""Credentials as boto3 finds them, from every source. No URL outlives its credentials."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from tests.code.test_architecture import tracked
from tests.support import storage_proxies
from tests.support.credential_provider import CredentialProvider, serve_credentials
from tests.support.doctor_results import only
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, put_bytes, sha256, web
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import State
from uploads.s3 import client, signing
from uploads.s3.client import seconds_of_credentials
from uploads.s3.signing import URL_SECONDS
from uploads.services.doctor.storage import check_credentials

KEY = "f/" + "0" * 32
FIRST = "AWS_ACCESS_KEY_ID"


@pytest.fixture
def no_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Remove every source of credentials, and reset the S3 clients afterwards."""
    for name in (FIRST, "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    s3.reset()
    yield monkeypatch
    s3.reset()


@pytest.fixture
def provider(no_credentials: pytest.MonkeyPatch, bucket: Bucket) -> Iterator[CredentialProvider]:
    with serve_credentials(bucket.address) as provider:
        yield provider


@pytest.fixture
def container(no_credentials: pytest.MonkeyPatch, provider: CredentialProvider) -> CredentialProvider:
    """The credentials of a container role."""
    no_credentials.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{provider.url}/role")
    return provider


def write_profiles(path: Path, **profiles: dict[str, str]) -> None:
    sections = [
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for name, values in profiles.items()
    ]
    path.write_text("\n".join(sections))


def key_pair(provider: CredentialProvider) -> dict[str, str]:
    return {"aws_access_key_id": provider.key, "aws_secret_access_key": provider.secret}


# --- sources ---------------------------------------------------------------------------------


def environment(patch: pytest.MonkeyPatch, provider: CredentialProvider, _folder: Path) -> None:
    patch.setenv(FIRST, key_pair(provider)["aws_access_key_id"])
    patch.setenv("AWS_SECRET_ACCESS_KEY", key_pair(provider)["aws_secret_access_key"])


def shared_file(patch: pytest.MonkeyPatch, provider: CredentialProvider, folder: Path) -> None:
    write_profiles(folder / "credentials", default={"aws_access_key_id": "other"}, team=key_pair(provider))
    patch.setenv("AWS_PROFILE", "team")


def config_file(_patch: pytest.MonkeyPatch, provider: CredentialProvider, folder: Path) -> None:
    write_profiles(folder / "config", default=key_pair(provider))


def program(_patch: pytest.MonkeyPatch, provider: CredentialProvider, folder: Path) -> None:
    document = {
        "Version": 1,
        "AccessKeyId": key_pair(provider)["aws_access_key_id"],
        "SecretAccessKey": key_pair(provider)["aws_secret_access_key"],
    }
    (folder / "credentials.json").write_text(json.dumps(document))
    write_profiles(folder / "config", default={"credential_process": f"cat {folder / 'credentials.json'}"})


def container_role(patch: pytest.MonkeyPatch, provider: CredentialProvider, folder: Path) -> None:
    (folder / "token").write_text("who-i-am")
    patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{provider.url}/role")
    patch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(folder / "token"))


def machine_role(patch: pytest.MonkeyPatch, provider: CredentialProvider, _folder: Path) -> None:
    patch.delenv("AWS_EC2_METADATA_DISABLED")
    patch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", provider.url)


def assumed_role(patch: pytest.MonkeyPatch, provider: CredentialProvider, folder: Path) -> None:
    write_profiles(folder / "credentials", base=key_pair(provider))
    (folder / "config").write_text("[profile team]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
    patch.setenv("AWS_PROFILE", "team")
    patch.setenv("AWS_ENDPOINT_URL_STS", provider.url)


def web_identity(patch: pytest.MonkeyPatch, provider: CredentialProvider, folder: Path) -> None:
    (folder / "identity").write_text("a.signed.token")
    patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "identity"))
    patch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")
    patch.setenv("AWS_ENDPOINT_URL_STS", provider.url)


SOURCES: dict[str, Callable[[pytest.MonkeyPatch, CredentialProvider, Path], None]] = {
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY": environment,
    "a credentials file, profile team": shared_file,
    "a config file, profile default": config_file,
    "a credential_process program, profile default": program,
    "the role of the container": container_role,
    "the role of the machine": machine_role,
    "a role assumed by a profile, profile team": assumed_role,
    "a role assumed by web identity": web_identity,
}
ROLES = [source for source in SOURCES if "role" in source]


@pytest.mark.parametrize("source", SOURCES)
def test_upload_and_download_work_with_every_credential_source(
    upload_client: UploadClient,
    no_credentials: pytest.MonkeyPatch,
    provider: CredentialProvider,
    tmp_path: Path,
    source: str,
) -> None:
    SOURCES[source](no_credentials, provider, tmp_path)
    file = upload_client.send(b"hello")
    url = upload_client.client.get(f"/files/{file.pk}/download")["Location"]
    assert web.request("GET", url).data == b"hello"
    assert only(check_credentials()).reason.startswith(f"from {source}")
    assert ("X-Amz-Security-Token" in parse_qs(urlsplit(url).query)) is (source in ROLES)


@pytest.mark.parametrize("source", ROLES)
def test_expiry_of_role_credentials_is_known(
    no_credentials: pytest.MonkeyPatch, provider: CredentialProvider, tmp_path: Path, source: str, bucket: Bucket
) -> None:
    """Also at the first call: some are fetched only when signing. botocore moves the expiry of a
    machine's role if it is within 20 minutes."""
    provider.seconds = 1500
    SOURCES[source](no_credentials, provider, tmp_path)
    assert 1490 < (seconds_of_credentials(limit=3600) or 0) <= 1500
    assert seconds_of_credentials(limit=60) == 60


@pytest.mark.parametrize("source", ROLES)
def test_doctor_reports_a_role_without_credentials(
    no_credentials: pytest.MonkeyPatch, provider: CredentialProvider, tmp_path: Path, source: str
) -> None:
    provider.mode = "refuses"
    SOURCES[source](no_credentials, provider, tmp_path)
    line = only(check_credentials())
    assert line.level == "fail"
    assert line.advice


# --- URL expiry -----------------------------------------------------------------------


def expiry_of(url: str) -> datetime:
    query = parse_qs(urlsplit(url).query)
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))


URLS: dict[str, Callable[[], str]] = {
    "put": lambda: s3.sign_put(KEY, size=1, sha256=sha256(b"x")).url,
    "part": lambda: s3.sign_part(KEY, "upload", 1, size=1, sha256=sha256(b"x")).url,
    "download": lambda: s3.download_url(KEY, disposition="attachment", content_type="text/plain"),
    "preview": lambda: s3.preview_url(KEY, content_type="image/webp"),
}


@pytest.mark.parametrize("seconds", [20, 1000, 6 * 3600])
@pytest.mark.parametrize("kind", URLS)
def test_url_expires_with_its_credentials(container: CredentialProvider, kind: str, seconds: int) -> None:
    container.seconds = seconds
    end = expiry_of(URLS[kind]())
    assert end <= datetime.now(UTC) + timedelta(seconds=seconds)
    longest = {"put": URL_SECONDS, "part": URL_SECONDS, "download": signing.DOWNLOAD_SECONDS}
    assert end <= datetime.now(UTC) + timedelta(seconds=longest.get(kind, 2 * signing.WINDOW_SECONDS))


@pytest.mark.parametrize("mode", ["payload", "sha256", "off"])
def test_url_expiry_holds_for_every_checksum_mode(container: CredentialProvider, settings: Settings, mode: str) -> None:
    settings.S3_CHECKSUMS = mode
    container.seconds = 100
    assert expiry_of(URLS["put"]()) <= datetime.now(UTC) + timedelta(seconds=100)


@pytest.mark.parametrize("kind", URLS)
def test_expired_credentials_sign_nothing(container: CredentialProvider, kind: str) -> None:
    container.seconds = -5
    with pytest.raises(StorageUnavailable):
        URLS[kind]()


def test_credentials_are_refreshed_before_they_expire(container: CredentialProvider) -> None:
    """Otherwise a URL could be signed with new credentials but the expiry of the old ones."""
    container.seconds = 30
    URLS["put"]()
    container.seconds = 6 * 3600
    assert expiry_of(URLS["put"]()) > datetime.now(UTC) + timedelta(seconds=URL_SECONDS - 5)


def test_downloads_are_signed_by_the_refreshed_credentials(container: CredentialProvider) -> None:
    """django-storages would otherwise look up its own credentials and request the role again."""
    tokens = {parse_qs(urlsplit(sign()).query)["X-Amz-Security-Token"][0] for sign in URLS.values()}
    assert tokens == {"token-1"}
    assert container.issued == 1


def test_variables_of_django_storages_are_ignored(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv("AWS_S3_SECRET_ACCESS_KEY", "secret")
    s3.reset()
    assert "somebody-else" not in URLS["download"]()
    s3.reset()


def test_upload_continues_after_its_credentials_expire(
    upload_client: UploadClient, bucket: Bucket, container: CredentialProvider, settings: Settings
) -> None:
    """Storage denies the expired URL, the client requests a new one, and the file is complete."""
    settings.UPLOAD_PART_BYTES = 10
    container.seconds = 60
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        upload = upload_client.start(b"0123456789abc")
        upload_client.put(upload, 1)
        expired_url = upload_client.sign(upload, 2)[0]
        expired_token = f"token-{container.issued}"
        deny = storage_proxies.status(403, "ExpiredToken")
        proxy.rules["*"] = lambda request: deny(request) if expired_token in request.url else request.forward()
        assert put_bytes(expired_url, upload.pieces[1]).status == 403
        upload_client.put(upload, 2) if upload_client.sign(upload, 2) else None
        file = upload_client.finished(upload)
    assert file.state == State.AVAILABLE
    assert bucket.read(file.key) == b"0123456789abc"


def test_hanging_credential_provider_times_out(
    no_credentials: pytest.MonkeyPatch, provider: CredentialProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a timeout, a silent STS would block a request for two minutes."""
    monkeypatch.setattr(client, "READ_SECONDS", 0.3)
    provider.mode = "hangs"
    web_identity(no_credentials, provider, tmp_path)
    started = time.monotonic()
    with pytest.raises(StorageUnavailable):
        URLS["put"]()
    assert time.monotonic() - started < 5


def test_missing_credentials_return_503(as_alice: Client, no_credentials: pytest.MonkeyPatch) -> None:
    upload_client = UploadClient(as_alice)
    item = upload_client.item(b"hello")
    assert upload_client.announce(item).status_code == 503


# --- doctor -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda patch, _: patch.setenv("AWS_PROFILE", "nobody"), "the profile does not exist"),
        (lambda patch, _: patch.setenv(FIRST, "x"), "incomplete"),
        (lambda _, folder: write_profiles(folder / "credentials", default={"aws_access_key_id": "x"}), "incomplete"),
        (lambda _, folder: (folder / "config").write_text("[default\n"), "an AWS configuration file is invalid"),
        (lambda _, folder: write_profiles(folder / "config", default={"credential_process": "false"}), "provider"),
    ],
    ids=["profile", "half", "half in a file", "broken file", "program"],
)  # fmt: skip
def test_doctor_explains_missing_credentials_in_one_line(
    no_credentials: pytest.MonkeyPatch, tmp_path: Path, prepare: Callable[[pytest.MonkeyPatch, Path], None], reason: str
) -> None:
    prepare(no_credentials, tmp_path)
    s3.reset()
    line = only(check_credentials())
    assert (line.level, reason in line.reason) == ("fail", True), line


# --- repository --------------------------------------------------------------------------


def test_repository_contains_no_keys() -> None:
    """No tracked file contains an AWS access key or a private key."""
    key = re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{20}")
    files_with_keys = {path.name for path in tracked() if path.suffix != ".png" and key.search(path.read_bytes())}
    assert files_with_keys == set()
