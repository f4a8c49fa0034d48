"""Settings of delivery by CloudFront: all or none, a separate host, and a key that errors never print.
Also the address of CSP reports.
"""

from __future__ import annotations

import functools

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured

from tests.amalga.test_settings import read

CLOUDFRONT_VARIABLES = ["CLOUDFRONT_DOMAIN", "CLOUDFRONT_KEY_ID", "CLOUDFRONT_PRIVATE_KEY"]

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@functools.cache
def private_key(bits: int) -> str:
    return pem(rsa.generate_private_key(public_exponent=65537, key_size=bits))


def pem(key: Private, passphrase: bytes = b"") -> str:
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden).decode()


def all_three(**other: str) -> dict[str, str]:
    return {
        "CLOUDFRONT_DOMAIN": "d111111abcdef8.cloudfront.net",
        "CLOUDFRONT_KEY_ID": "K2JCJMDEHXQW5F",
        "CLOUDFRONT_PRIVATE_KEY": private_key(2048),
        **other,
    }


def test_s3_delivers_files_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings["STORAGES"]["default"]["OPTIONS"] == {}
    assert settings["CONTENT_ORIGINS"] == [settings["S3_ORIGIN"]]


def test_csp_allows_content_from_cloudfront_and_uploads_to_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **all_three())
    policy = settings["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    for name in ("img-src", "media-src", "frame-src"):
        assert policy[name][-1] == "https://d111111abcdef8.cloudfront.net"
        assert settings["S3_ORIGIN"] not in policy[name]
    assert policy["connect-src"] == ["'self'", settings["S3_ORIGIN"]]


def test_secondary_storage_delivers_its_own_files_during_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {
        "SECONDARY_S3_BUCKET": "old",
        "SECONDARY_S3_STORE_NAME": "old",
        "SECONDARY_S3_ENDPOINT": "https://s3.example.org",
    }
    settings = read(monkeypatch, **all_three(), **other)
    assert settings["CONTENT_ORIGINS"] == ["https://d111111abcdef8.cloudfront.net", "https://s3.example.org"]


def test_private_key_can_be_given_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    key_in_one_line = private_key(2048).replace("\n", "\\n")
    settings = read(monkeypatch, **all_three(CLOUDFRONT_PRIVATE_KEY=key_in_one_line))
    assert settings["STORAGES"]["default"]["OPTIONS"]["cloudfront_key"] == private_key(2048).strip()


@pytest.mark.parametrize("missing", CLOUDFRONT_VARIABLES)
def test_incomplete_cloudfront_settings_name_the_missing_one(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{missing} is not set"):
        read(monkeypatch, **all_three(**{missing: " "}))


@pytest.mark.parametrize(
    "domain",
    ["https://d1.cloudfront.net", "d1.cloudfront.net/x", "a b.net", "d1..net", "-a.net", "x" * 300 + ".net", "a.net:x",
     "a.net;script-src *"],
)  # fmt: skip
def test_invalid_cloudfront_domain_is_rejected(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"CLOUDFRONT_DOMAIN must be a host name"):
        read(monkeypatch, **all_three(CLOUDFRONT_DOMAIN=domain))


@pytest.mark.parametrize("domain", ["files.example.org", "FILES.example.org", "files.example.org:8443"])
def test_cloudfront_domain_must_not_be_an_allowed_host(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"CLOUDFRONT_DOMAIN.*ALLOWED_HOSTS"):
        read(monkeypatch, **all_three(CLOUDFRONT_DOMAIN=domain))


@pytest.mark.parametrize("key_id", ["k2jcjmdehxqw5f", "K2", "K2JCJMDEHXQW5F&x=1", "arn:aws:cloudfront"])
def test_invalid_cloudfront_key_id_is_rejected(key_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="CLOUDFRONT_KEY_ID"):
        read(monkeypatch, **all_three(CLOUDFRONT_KEY_ID=key_id))


@pytest.mark.parametrize("kind", ["nonsense", "half", "small", "curve", "hidden", "public"])
def test_invalid_cloudfront_key_is_refused_without_printing_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = good.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    keys = {
        "nonsense": "a secret that is no key, however long it is and whatever it says",
        "half": private_key(2048)[:400],
        "small": private_key(1024),
        "curve": pem(ec.generate_private_key(ec.SECP256R1())),
        "hidden": pem(good, b"a passphrase"),
        "public": public.decode(),
    }
    with pytest.raises(ImproperlyConfigured, match="CLOUDFRONT_PRIVATE_KEY must be an RSA key") as error:
        read(monkeypatch, **all_three(CLOUDFRONT_PRIVATE_KEY=keys[kind]))
    assert keys[kind][-60:-30] not in str(error.value)
    assert error.value.__cause__ is None


def test_csp_reports_go_to_the_configured_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "report-uri" not in read(monkeypatch)["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    address = "https://errors.example.org/api/1/security/?key=x"
    policy = read(monkeypatch, CSP_REPORT_URI=address)["CONTENT_SECURITY_POLICY"]
    assert policy["DIRECTIVES"]["report-uri"] == address


@pytest.mark.parametrize("address", ["errors.example.org", "https://a.example/;script-src *", "https://a.example/, x",
                                     "http://a.example/"])  # fmt: skip
def test_unsafe_csp_report_uri_is_rejected(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="CSP_REPORT_URI"):
        read(monkeypatch, CSP_REPORT_URI=address)
