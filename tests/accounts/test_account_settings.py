"""Settings of accounts: invalid and contradictory values are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.amalga import test_settings

VARIABLES = ["SESSION_IDLE_HOURS", "SESSION_ABSOLUTE_DAYS", "CACHE_URL", "STAFF_SECOND_FACTOR"]


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return test_settings.read(monkeypatch, **variables)


def test_defaults_are_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings["STAFF_SECOND_FACTOR"] is True
    assert settings["SESSION_COOKIE_AGE"] == 24 * 3600
    assert settings["SESSION_ABSOLUTE_DAYS"] == 14
    assert settings["SOCIALACCOUNT_PROVIDERS"]["openid_connect"]["APPS"] == []
    assert settings["DEVICE_COOKIE_NAME"] == "__Host-amalga-device"


def test_second_factor_is_optional_without_https(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, HTTPS="off")["STAFF_SECOND_FACTOR"] is False
    assert read(monkeypatch, HTTPS="off", STAFF_SECOND_FACTOR="on")["STAFF_SECOND_FACTOR"] is True


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "a day", "100000", "٢"])
@pytest.mark.parametrize("name", ["SESSION_IDLE_HOURS", "SESSION_ABSOLUTE_DAYS"])
def test_session_limit_out_of_range_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        read(monkeypatch, **{name: value})


def test_idle_limit_above_the_absolute_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="must not be longer than SESSION_ABSOLUTE_DAYS"):
        read(monkeypatch, SESSION_IDLE_HOURS="49", SESSION_ABSOLUTE_DAYS="2")


def test_invalid_boolean_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="STAFF_SECOND_FACTOR"):
        read(monkeypatch, STAFF_SECOND_FACTOR="maybe")


@pytest.mark.parametrize("url", ["", "redis://cache.example.org:6379/0", "rediss://:pw@cache.example.org/1"])
def test_cache_is_in_postgres_or_redis(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = read(monkeypatch, CACHE_URL=url)["CACHES"]["default"]["BACKEND"]
    assert backend.rpartition(".")[2] == ("RedisCache" if url else "DatabaseCache")


@pytest.mark.parametrize("url", ["cache.example.org", "http://x", "redis://", "redis://:topsecret@h:x/0", "redis://["])
def test_invalid_cache_url_is_refused_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="CACHE_URL") as error:
        read(monkeypatch, CACHE_URL=url)
    assert "topsecret" not in str(error.value)
