"""Every variable: missing, empty, misspelled, out of range or in conflict. The error names the variable."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from amalga.local.processes import free_port
from tests.amalga.test_settings import REQUIRED, read
from tests.conftest import PROJECT
from uploads.checks import check_unknown_variables

NUMBERS = ["x", "-1", "1.5", "9" * 30]
SWITCHES = ["maybe", "2", "onn"]
URLS = ["nonsense", "ftp://x.example.org", "http://", "https://x.example.org:99999"]
DATABASES = ["nonsense", "mysql://u:hunter2@h/db", "postgres://u:hunter2@h:x/db", "postgres://u:hunter2@h/"]
PARTS = {"DATABASE_URL": "", "DATABASE_HOST": "db.example.org", "DATABASE_NAME": "files", "DATABASE_USER": "app"}
SECOND = {"SECONDARY_S3_BUCKET": "old", "SECONDARY_S3_STORE_NAME": "old-store"}
BEFORE = {"CLOUDFRONT_DOMAIN": "d1.cloudfront.net", "CLOUDFRONT_KEY_ID": "K2JCJMDEHXQW5F"}
MAIL = {"EMAIL_URL": "smtp+tls://u:hunter2@mail.example.org", "DEFAULT_FROM_EMAIL": "files@example.org"}
SIGN_ON = {"OIDC_ISSUER": "https://id.example.org", "OIDC_CLIENT_ID": "amalga", "OIDC_CLIENT_SECRET": "hunter2"}

# Values that each variable rejects; COMPANIONS are variables that must be set with it.
ODD: dict[str, list[str]] = {
    "SECRET_KEY": ["", "  "],
    "ALLOWED_HOSTS": ["", " , ", "https://files.example.org", "files.example.org:8000", "files example", "a/b"],
    "CSRF_TRUSTED_ORIGINS": ["files.example.org", "*", "https://files.example.org/", "https://files.example.org/x"],
    "DATABASE_URL": ["", *DATABASES],
    "DATABASE_PORT": ["x", "0", "65536", "tcp://10.0.0.1:5432"],
    "DATABASE_HOST": [""],
    "DATABASE_NAME": [""],
    "DATABASE_USER": [""],
    "DATABASE_CA": ["/no/such/file", __file__],
    "DATABASE_IAM": SWITCHES,
    "DATABASE_POOLER": SWITCHES,
    "DATABASE_CONNECTIONS": [*NUMBERS, "0"],
    "READ_DATABASE_URL": [*DATABASES, "postgres://user:pw@db.example.org:5432/files"],
    "CACHE_URL": ["nonsense", "http://u:hunter2@h", "redis://", "redis://u:hunter2@h:x/0"],
    "AWS_STORAGE_BUCKET_NAME": ["", "s3://bucket", "a/b", "two words", "x" * 256],
    "AWS_ENDPOINT_URL_S3": URLS,
    "AWS_DEFAULT_REGION": ["Frankfurt am Main", "eu_central_1", "-eu", "1", "x" * 64],
    "AWS_ACCESS_KEY_ID": ["alone"],
    "AWS_SECRET_ACCESS_KEY": ["hunter2"],
    "AWS_SESSION_TOKEN": ["hunter2"],
    "CLOUDFRONT_DOMAIN": ["https://d1.cloudfront.net", "d1.cloudfront.net/x"],
    "CLOUDFRONT_KEY_ID": ["key id", "arn:aws:x"],
    "CLOUDFRONT_PRIVATE_KEY": ["hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"],
    "S3_CHECKSUMS": ["md5", "on"],
    "S3_CONDITIONS": ["on", "complete,move", "off,copy"],
    "S3_BUCKET_OWNER": ["12345678901", "1234-5678-9012", "arn:aws:iam::123456789012:root"],
    "S3_STORE_NAME": ["x" * 41, "a\x07b"],
    "SECONDARY_S3_BUCKET": ["a/b", "bucket"],
    "SECONDARY_S3_STORE_NAME": ["x" * 41, ""],
    "SECONDARY_S3_ENDPOINT": URLS,
    "SECONDARY_S3_REGION": ["Frankfurt am Main"],
    "SECONDARY_S3_CHECKSUMS": ["md5"],
    "SECONDARY_S3_CONDITIONS": ["on"],
    "SECONDARY_S3_BUCKET_OWNER": ["me"],
    "SECONDARY_S3_ACCESS_KEY_ID": ["alone"],
    "SECONDARY_S3_SECRET_ACCESS_KEY": ["hunter2"],
    "HTTPS": SWITCHES,
    "DEBUG": SWITCHES,
    "WEB_CONCURRENCY": [*NUMBERS, "0", "1001"],
    "WEB_THREADS": [*NUMBERS, "0", "101"],
    "FORWARDED_ALLOW_IPS": ["localhost", "10.0.0.1/33", "300.1.1.1"],
    "PROXY_COUNT": [*NUMBERS, "11"],
    "UPLOAD_MAX_BYTES": [*NUMBERS, "0", str(2**60)],
    "UPLOAD_QUOTA_BYTES": [*NUMBERS, "0"],
    "UPLOAD_QUOTA_FILES": [*NUMBERS, "0"],
    "UPLOAD_QUOTA_FOLDERS": [*NUMBERS, "0"],
    "UPLOAD_QUOTA_TAGS": [*NUMBERS, "0"],
    "UPLOAD_PART_BYTES": [*NUMBERS, str(5 * 1024**2 - 1), str(5 * 1024**3 + 1)],
    "UPLOAD_EXPIRY_HOURS": [*NUMBERS, "0", "2161"],
    "UPLOAD_REFUSED_TYPES": ["exe", ".tar.gz", "image/", "*"],
    "FILE_REQUEST_DAYS": [*NUMBERS, "0", "366"],
    "FILE_REQUEST_MAX_DAYS": [*NUMBERS, "0", "3651"],
    "MALWARE_SCAN": ["on", "guests", "all"],
    "MALWARE_SCANNER": [
        "clamav",
        "clamd://",
        "clamd://h:x",
        "tcp://h:3310",
        "clamd://u:hunter2@h",
        "clamd://h/path",
        "/run/clamd.sock",
    ],
    "MALWARE_SCANNER_UNAVAILABLE": ["wait", "off"],
    "PURGE_PAUSED": SWITCHES,
    "TRASH_RETENTION_DAYS": [*NUMBERS, "3651"],
    "CONTENT_SEARCH": SWITCHES,
    "SHARE_LINKS": SWITCHES,
    "SHARE_LINK_DAYS": [*NUMBERS, "0", "366"],
    "SHARE_LINK_MAX_DAYS": [*NUMBERS, "3651"],
    "SESSION_IDLE_HOURS": [*NUMBERS, "0", "2161"],
    "SESSION_ABSOLUTE_DAYS": [*NUMBERS, "0", "366"],
    "INVITATION_DAYS": [*NUMBERS, "0", "91"],
    "STAFF_SECOND_FACTOR": SWITCHES,
    "OIDC_ISSUER": [
        "nonsense",
        "http://id.example.org",
        "https://login.microsoftonline.com/common/v2.0",
        "https://login.microsoftonline.com/example.onmicrosoft.com/v2.0",
        "https://login.microsoftonline.us/",
    ],
    "OIDC_CLIENT_ID": [""],
    "OIDC_CLIENT_SECRET": [""],
    "OIDC_PROVIDERS": ["Entra", "back", "connect", "1st", "a-b", "x" * 21, "entra"],
    "OIDC_SCOPES": ["profile email", 'openid "x"', "openid x\\y"],
    "OIDC_DOMAINS": ["example", "https://example.org", "example.org/x", "alice@example.org", "ex\u00e4mple.org"],
    "OIDC_TRUST_EMAIL": [*SWITCHES, "on"],
    "OIDC_CREATE_ACCOUNTS": [*SWITCHES, "on"],
    "OIDC_DEFAULT_ROLE": ["administrator", "managers", "Viewer"],
    "OIDC_ROLE_MAP": ["staff", "staff=", "=manager", "staff=managers", "a=viewer,b", "a=viewer;b=owner"],
    "OIDC_TEAM_MAP": ["staff", "staff=", "staff=administrators", "*,a=b"],
    "SSO_ONLY": [*SWITCHES, "on"],
    "EMAIL_URL": [
        "nonsense",
        "smtps://u:hunter2@mail.example.org",
        "smtp+tls://u:hunter2@mail.example.org:x",
        "smtp+tls://u:hunter2@mail.example.org:0",
        "smtp+tls://u:hunter2/x@mail.example.org",
        "smtp+tls://u:hunter2?x@mail.example.org",
        "smtp+tls://u:hunter2#x@mail.example.org",
        "smtp+tls://u:hunter2@",
        "smtp+tls://u:hunter2@mail..example.org",
        "smtp+tls://u:hunter2%0D%0A@mail.example.org",
        "smtp+tls://hunter2@mail.example.org",
        "smtp+tls://u:hunter2%C3%A9@mail.example.org",
        "smtp+tls://u:hunter2@mail.example.org/?ssl=no",
    ],
    "DEFAULT_FROM_EMAIL": [
        "",
        "nonsense",
        "Files <nonsense>",
        "a@example.org\nBcc: b@example.org",
        "a@example.org, b@example.org",
    ],
    "SITE_URL": [*URLS, "http://files.example.org", "https://files.example.org/x", "https://other.example.org"],
    "LOG_FORMAT": ["xml"],
    "SENTRY_DSN": ["nonsense", "https://hunter2@/1"],
    "METRICS_TOKEN": ["hunter2", "hunter2 and more words, with blanks between them"],
    "CSP_REPORT_URI": ["nonsense", "ftp://x.example.org", "https://x.example.org/a;b"],
}
# Any text is valid, or another program reads and validates it.
FREE = {
    "SECRET_KEY_FALLBACKS": "secrets",
    "DATABASE_PASSWORD": "a secret",
    "READ_DATABASE_HOST": "a host, which is not contacted before it is needed",
    "AWS_ENDPOINT_URL": "boto3's; held to the same as AWS_ENDPOINT_URL_S3",
    "AWS_REGION": "the platform's; held to the same as AWS_DEFAULT_REGION",
    "AWS_PROFILE": "a name in a file",
    "OIDC_NAME": "words on a button",
    "OIDC_GROUPS_CLAIM": "the provider's name for it",
    "PROMETHEUS_MULTIPROC_DIR": "a folder, which gunicorn makes",
    "PORT": "gunicorn's: tests/amalga/test_settings.py",
    "GUNICORN_CMD_ARGS": "gunicorn's own options, which it refuses itself",
    "PROBE_BIND": "tests/amalga/test_probes.py",
    "LOCAL_POSTGRES_PORT": "tests/amalga/test_local.py",
    "LOCAL_S3_PORT": "tests/amalga/test_local.py",
    "LOCAL_FOLDER": "a folder's name",
    "SENTRY_RELEASE": "a name, which the Sentry library reports",
    "FAILPOINT": "of tests alone; check --deploy refuses any",
}
COMPANIONS = {
    "SECONDARY_S3_": SECOND,
    "CLOUDFRONT_": BEFORE | {"CLOUDFRONT_PRIVATE_KEY": "x"},
    "OIDC_": SIGN_ON,
    "EMAIL_": MAIL,
    "DEFAULT_FROM": MAIL,
}
COMPANIONS |= {f"DATABASE_{part}": PARTS for part in ("HOST", "PORT", "NAME", "USER")}
CASES = [(name, odd) for name, odds in ODD.items() for odd in odds]


def companions(name: str) -> dict[str, str]:
    return next((dict(its) for start, its in COMPANIONS.items() if name.startswith(start)), {})


@pytest.mark.parametrize(("name", "odd"), CASES, ids=[f"{name}={odd[:20]!r}" for name, odd in CASES])
def test_invalid_value_is_refused_by_name_without_secrets(name: str, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(monkeypatch, **{**companions(name), name: odd})
    assert re.search(rf"\b{name}\b", str(refusal.value))
    assert "hunter2" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_every_variable_is_in_this_matrix_and_in_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch)
    names_read = set(sys.modules["amalga.settings.env"].env.names_read)
    page = (PROJECT / "docs" / "configuration.md").read_text()
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row)}
    unspoken = {"AWS_REGION", "AWS_ENDPOINT_URL", "FAILPOINT", "PROMETHEUS_MULTIPROC_DIR"}
    assert names_read | documented == set(ODD) | set(FREE)
    assert names_read - documented == unspoken


# --- misspelled ---------------------------------------------------------------------------------

LONG = sorted(name for name in {*ODD, *FREE} if len(name) >= 8)


def misspellings(name: str) -> list[str]:
    middle = len(name) // 2
    return [
        name[:-1],  # UPLOAD_QUOTA_BYTE
        name[:middle] + name[middle + 1 :],
        name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :],
        name.lower(),
    ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that knows all variable names, in a process with only the required variables."""
    read(monkeypatch)
    return sys.modules["amalga.settings.env"]


@pytest.mark.parametrize("name", [name for name in LONG if name not in REQUIRED])
def test_misspelled_variable_is_rejected_with_the_correct_name(
    names: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in {*misspellings(name)} - {name, *ODD, *FREE}:
        with monkeypatch.context() as patch:
            patch.setenv(wrong, "1")
            patch.delenv(name, raising=False)
            with pytest.raises(ImproperlyConfigured) as refusal:
                names.reject_misspelled()
        assert wrong in str(refusal.value)
        assert name in str(refusal.value)


@pytest.mark.parametrize("name", REQUIRED)
def test_misspelled_required_variable_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in misspellings(name):
        with (
            pytest.raises(ImproperlyConfigured, match=f"{name} is not set, but {wrong} is"),
            monkeypatch.context() as patch,
        ):
            read(patch, **{wrong: "1", name: None})


def test_misspelled_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="Unknown variable UPLOAD_QUOTA_BYTE"):
        read(monkeypatch, UPLOAD_QUOTA_BYTE="1")


def test_similar_name_is_accepted_if_the_correct_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, DATABASE_URI="somebody else's", SECRET_KEYS="x")["UNKNOWN_VARIABLES"] == ["SECRET_KEYS"]


@pytest.mark.parametrize("name", ["PORTS", "DEBUGGER", "HTTP", "PATHS", "AWS_ENDPOINT_URL_STS", "AWS_EXECUTION_ENV"])
def test_variables_of_other_programs_are_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, **{name: "x"})["UNKNOWN_VARIABLES"] == []


def test_system_check_reports_unknown_variables(settings: Settings) -> None:
    settings.UNKNOWN_VARIABLES = ["UPLOAD_MAX_SIZE"]
    (message,) = check_unknown_variables()
    assert (message.id, message.msg) == ("uploads.W012", "Unknown variable UPLOAD_MAX_SIZE.")


# --- conflicts ----------------------------------------------------------------------------------

AT_ODDS: list[dict[str, str]] = [
    {"DATABASE_URL": "postgres://u:p@h/db", "DATABASE_HOST": "db.example.org"},
    {"READ_DATABASE_URL": "postgres://u:p@h/db", "READ_DATABASE_HOST": "db.example.org"},
    {"DATABASE_IAM": "on", "DATABASE_URL": "postgres://u:p@db.example.org/db"},
    {"UPLOAD_MAX_BYTES": "1000", "UPLOAD_QUOTA_BYTES": "999"},
    {"SESSION_IDLE_HOURS": "48", "SESSION_ABSOLUTE_DAYS": "1"},
    {"SECRET_KEY": "one", "SECRET_KEY_FALLBACKS": "two,one"},
    {"AWS_PROFILE": "team", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"},
    {"SECONDARY_S3_BUCKET": "bucket", "SECONDARY_S3_STORE_NAME": "old"},
    {"SECONDARY_S3_BUCKET": "old", "S3_STORE_NAME": "new", "SECONDARY_S3_STORE_NAME": "new"},
    {"OIDC_ISSUER": "https://id.example.org", "OIDC_NAME": "Team"},
    {"OIDC_DOMAINS": "example.org"},
    {**SIGN_ON, "OIDC_PROVIDERS": "entra"},
    {"OIDC_PROVIDERS": "entra", "OIDC_ENTRA_ISSUER": "https://id.example.org"},
    {**BEFORE, "CLOUDFRONT_DOMAIN": "files.example.org"},
    {"EMAIL_URL": MAIL["EMAIL_URL"]},
    {"DEFAULT_FROM_EMAIL": MAIL["DEFAULT_FROM_EMAIL"]},
    {**MAIL, "ALLOWED_HOSTS": "*"},
]


@pytest.mark.parametrize("variables", AT_ODDS, ids=lambda variables: "+".join(variables))
def test_conflicting_variables_are_rejected_by_name(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(monkeypatch, **variables)
    assert [name for name in variables if name in str(refusal.value)]


def test_value_that_begins_with_a_dollar_sign_is_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    """django-environ would look up a variable of this name and print the secret in its error."""
    assert read(monkeypatch, SECRET_KEY="$ecret-of-many-characters")["SECRET_KEY"] == "$ecret-of-many-characters"


# --- start --------------------------------------------------------------------------------------

WRONG = [
    ({"SECRET_KEY": ""}, "SECRET_KEY"),
    ({"UPLOAD_QUOTA_BYTE": "1"}, "Unknown variable UPLOAD_QUOTA_BYTE"),
    ({"UPLOAD_MAX_BYTES": "1000", "UPLOAD_QUOTA_BYTES": "999"}, "UPLOAD_MAX_BYTES (1000) must not be larger"),
]


@pytest.mark.parametrize(("variables", "message"), WRONG)
def test_gunicorn_with_invalid_settings_does_not_listen(variables: dict[str, str], message: str) -> None:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "amalga/gunicorn_conf.py", "amalga.wsgi"]
    env = {**os.environ, **variables, "PORT": str(port)}
    result = subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Listening at" not in result.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


@pytest.mark.parametrize("command", ["worker", "sweep", "migrate"])
def test_commands_with_invalid_settings_do_not_start(command: str) -> None:
    env = {**os.environ, "TRASH_RETENTION_DAYS": "a month"}
    result = subprocess.run(
        [sys.executable, "manage.py", command], env=env, cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode != 0
    expected = "Error: TRASH_RETENTION_DAYS must be an integer between 0 and 3650, not “a month”."
    assert result.stderr.splitlines() == [expected]


def test_missing_required_variable_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        with pytest.raises(ImproperlyConfigured, match=f"{name} is not set"), monkeypatch.context() as patch:
            read(patch, **{name: None})
