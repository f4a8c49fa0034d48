"""Fixtures for all tests: people, the bucket, a storage that verifies checksums, a running site.

Three people: alice owns, bob is on her team, charlie should see nothing.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.conf import settings as live_settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.db.migrations import RunPython
from django.test import Client
from django.utils import translation
from pytest_django import Settings

from amalga.local.processes import Daemon, free_port
from tests.support import csp_reports, log_scanner, quick_flush, stores, xdist
from tests.support.certificate_authority import CertificateAuthority
from tests.support.connections import close_other_connections
from tests.support.mail import use_mail_server
from tests.support.postgres_standby import Standby
from tests.support.smtp_server import SmtpServer
from tests.support.storage_proxies import StorageProxy, proxy_of_app
from tests.support.tls_proxy import TlsProxy, run_tls_proxy
from tests.support.upload_client import UploadClient
from uploads import s3
from uploads.models import Installation
from uploads.services import zips

PROJECT = Path(__file__).resolve().parents[1]
SITE_SECONDS = 30
collect_ignore = [] if os.geteuid() == 0 else ["amalga/test_local_root.py"]  # tests that require root


def pytest_configure() -> None:
    """Refuse any bucket except that of the tests, because tests empty it."""
    if os.environ.get("AWS_STORAGE_BUCKET_NAME") != xdist.own_bucket():
        raise pytest.UsageError("Start tests with: python -m amalga.local --ephemeral python -m pytest")
    _choose_temporary_folder()
    quick_flush.install()


def _choose_temporary_folder() -> None:
    """Choose a temporary folder in which programs can run, because hardened systems mount /tmp noexec."""
    noexec = getattr(os, "ST_NOEXEC", 0)  # Linux
    for folder in (tempfile.gettempdir(), "/var/tmp"):  # noqa: S108  # pytest creates its own folder in it
        if os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & noexec:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", folder)
            return
    raise pytest.UsageError("No program may be started in /tmp and /var/tmp: TMPDIR=/another/folder make test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a module in one process (`--dist loadgroup`), except in modules with `SPREAD`, whose tests
    share no slow fixtures."""
    for item in items:
        if not getattr(getattr(item, "module", None), "SPREAD", False):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail skipped tests, because a skipped test looks like a passed one."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that logs a secret, in this process or in one that it starts (tests/support/log_scanner.py)."""
    scanner = log_scanner.begin()
    yield
    folder: Path | None = request.node.funcargs.get("tmp_path")
    for log in folder.glob("*.log") if folder else ():
        scanner.scan_file(log)
    assert scanner.take() == []


@pytest.fixture(autouse=True)
def every_zip_is_closed() -> Iterator[None]:
    """Fail a test that leaves a ZIP open, because it would occupy a slot in later tests."""
    before = zips._slots._value
    yield
    assert zips._slots._value == before


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Deactivate the language that a request activated in this thread."""
    yield
    translation.deactivate()


# --- people -----------------------------------------------------------------------------------


@pytest.fixture
def roles(db: None) -> None:
    """The groups of the roles. A migration creates them, and this restores them after transactional tests."""
    if not Group.objects.exists():
        with connection.schema_editor() as editor:
            importlib.import_module("uploads.migrations.0003_roles").create_roles(apps, editor)
            for name in sorted(path.stem for path in (PROJECT / "uploads" / "migrations").glob("0*.py")):
                for operation in importlib.import_module(f"uploads.migrations.{name}").Migration.operations:
                    code: Any = operation.code if isinstance(operation, RunPython) else None
                    if getattr(code, "__module__", "") == "uploads.migrations._roles":
                        code(apps, editor)


# Django's own hasher with one iteration, so that creating users and signing in is fast.
PASSWORD = PBKDF2PasswordHasher().encode("correct horse battery staple", "salt", iterations=1)


def person(name: str, *roles: str) -> User:
    user = User.objects.create(username=name, password=PASSWORD)
    user.groups.set(Group.objects.filter(name__in=roles))
    return user


@pytest.fixture
def alice(roles: None) -> User:
    """An uploader who owns the files of the test."""
    return person("alice", "uploaders")


@pytest.fixture
def bob(roles: None) -> User:
    """An uploader on alice's team."""
    return person("bob", "uploaders")


@pytest.fixture
def charlie(roles: None) -> User:
    """A user without a role, who sees nothing."""
    return person("charlie")


@pytest.fixture
def viewer(roles: None) -> User:
    return person("viewer", "viewers")


@pytest.fixture
def manager(roles: None) -> User:
    return person("manager", "managers")


@pytest.fixture
def admin_user(roles: None) -> User:
    """A superuser, for the admin. Replaces pytest-django's fixture of this name."""
    return User.objects.create(username="root", password=PASSWORD, is_staff=True, is_superuser=True)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def as_alice(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def as_bob(bob: User) -> Client:
    return signed_in(bob)


@pytest.fixture
def as_charlie(charlie: User) -> Client:
    return signed_in(charlie)


@pytest.fixture
def as_viewer(viewer: User) -> Client:
    return signed_in(viewer)


@pytest.fixture
def as_manager(manager: User) -> Client:
    return signed_in(manager)


@pytest.fixture
def as_admin(admin_user: User) -> Client:
    return signed_in(admin_user)


# --- storage ----------------------------------------------------------------------------------


@pytest.fixture
def bucket(db: None) -> stores.Bucket:
    """The bucket of the app, accessed directly: empty except for the marker of this database."""
    return own(stores.Address.of_this_run())


def own(address: stores.Address) -> stores.Bucket:
    bucket = stores.Bucket(address)
    bucket.empty()
    bucket.mark(Installation.objects.own_id())
    return bucket


@pytest.fixture
def unmarked(bucket: stores.Bucket) -> stores.Bucket:
    """Like `bucket`, but without the marker."""
    bucket.unmark()
    return bucket


@pytest.fixture
def marker(bucket: stores.Bucket) -> UUID:
    """The installation ID of this database, which is also in the bucket marker."""
    return Installation.objects.own_id()


@pytest.fixture
def marked(bucket: stores.Bucket) -> stores.Bucket:
    return bucket


@pytest.fixture
def storage_proxy(bucket: stores.Bucket, settings: Settings) -> Iterator[StorageProxy]:
    """A proxy between the app and its storage, which can fail on demand. `bucket` bypasses it."""
    with proxy_of_app(settings, bucket) as proxy:
        yield proxy


@pytest.fixture
def storage_unavailable(settings: Settings) -> Iterator[None]:
    """Make calls to the storage fail with 503: any other response proves that there was none."""
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    s3.reset()
    yield
    s3.reset()


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 retry without a pause."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)


@pytest.fixture
def small_parts(settings: Settings) -> None:
    """Parts of ten bytes (S3 requires 5 MiB), so that files of several parts stay short."""
    settings.UPLOAD_PART_BYTES = 10


@pytest.fixture
def upload_client(as_alice: Client, bucket: stores.Bucket) -> UploadClient:
    """A client of the upload protocol, signed in as alice."""
    return UploadClient(as_alice)


@pytest.fixture(scope="session")
def digest_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Address]:
    """A second storage that verifies SHA-256 and signed headers; the app does not use it by default."""
    with stores.digest_store(tmp_path_factory.mktemp("digests")) as address:
        yield address


@pytest.fixture
def digest_bucket(
    digest_store: stores.Address, settings: Settings, monkeypatch: pytest.MonkeyPatch, db: None
) -> Iterator[stores.Bucket]:
    """Switch the app in this process to the digest store, as in production, and return its bucket."""
    for name, value in digest_store.variables().items():
        monkeypatch.setenv(name, value)
    settings.S3_ENDPOINT = settings.S3_ORIGIN = digest_store.endpoint
    settings.S3_BUCKET = digest_store.bucket
    settings.S3_CHECKSUMS, settings.S3_CONDITIONS = digest_store.checksums, digest_store.conditions
    s3.reset()
    yield own(digest_store)
    s3.reset()


@pytest.fixture
def fresh(digest_bucket: stores.Bucket, settings: Settings) -> stores.Bucket:
    """Point the app to a bucket that does not exist yet, in a storage that supports all bucket settings."""
    settings.S3_BUCKET = f"fresh-{uuid4().hex[:12]}"
    settings.ALLOWED_HOSTS, settings.CSRF_TRUSTED_ORIGINS = ["files.example.org"], []
    settings.HTTPS = True
    return stores.Bucket(replace(digest_bucket.address, bucket=settings.S3_BUCKET))


@pytest.fixture
def mail_server(settings: Settings) -> Iterator[SmtpServer]:
    """The mail server of the app; `mails` has the accepted mails."""
    with SmtpServer().running() as server:
        use_mail_server(server, settings)
        yield server


# --- site -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the app in gunicorn, with the test database and the bucket of this run.

    It sees only committed data: use it with `transactional_db`.
    """
    with serving(tmp_path_factory.mktemp("site"), {}) as url:
        yield url


@pytest.fixture(scope="session")
def digest_site(
    django_db_setup: None,
    digest_store: stores.Address,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Like `site`, with the digest store."""
    with serving(tmp_path_factory.mktemp("digest-site"), digest_store.variables()) as url:
        yield url


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """The certificate authority of the TLS proxies for the site and its storage."""
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls_site(
    django_db_setup: None, authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsProxy]:
    """Like `site`, but as in production: behind a load balancer that terminates TLS, with storage over TLS."""
    store = stores.Address.of_this_run().endpoint
    reports = urlsplit(csp_reports.begin().url)
    with (
        run_tls_proxy(authority, store) as before_store,
        run_tls_proxy(authority, f"http://{reports.netloc}") as before_reports,
        run_tls_proxy(authority) as before_site,
    ):
        variables = {
            "CSP_REPORT_URI": before_reports.url + reports.path,
            "HTTPS": "on",
            "PROXY_COUNT": "1",
            "STAFF_SECOND_FACTOR": "off",
            "AWS_ENDPOINT_URL_S3": before_store.url,
            "AWS_CA_BUNDLE": str(authority.file),
            "SSL_CERT_FILE": str(authority.file),
        }
        with serving(tmp_path_factory.mktemp("tls-site"), variables) as before_site.behind:
            yield before_site


@contextmanager
def serving(folder: Path, variables: Mapping[str, str], *, database_port: int | None = None) -> Iterator[str]:
    """Run gunicorn, with its log in `web.log` of this folder, and yield its URL."""
    port = free_port()
    database = {**connection.settings_dict, "PORT": database_port or connection.settings_dict["PORT"]}
    reports = "" if variables.get("HTTPS") == "on" else csp_reports.begin().url  # `tls_site` has its own TLS address
    env = {**os.environ, "CSP_REPORT_URI": reports, **variables, "PORT": str(port)}
    env["DATABASE_URL"] = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "amalga" / "gunicorn_conf.py")]
    web = Daemon("web", folder, mark="gunicorn", stop_signal=signal.SIGINT)
    web.start([*gunicorn, "--bind", f"127.0.0.1:{port}", "amalga.wsgi"], env=env)
    try:
        _wait_for(f"http://127.0.0.1:{port}/healthz", web)
        yield f"http://localhost:{port}"
    finally:
        web.stop()
        log_scanner.begin().scan_file(web.log_file)
        assert log_scanner.begin().take() == []


def _wait_for(url: str, web: Daemon) -> None:
    end = time.monotonic() + SITE_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError as error:
            if web.exit_code() is not None or time.monotonic() > end:
                raise RuntimeError(f"The site is not up: {error}: {web.log_tail()}") from None
            time.sleep(0.1)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test database. A connection that a thread of a test left open would keep it from being dropped."""
    yield
    with django_db_blocker.unblock():
        connection.close()  # a test may have terminated it
        for text in close_other_connections():
            print("A test left a connection open:", " ".join(text.split())[:200], file=sys.__stderr__)


@pytest.fixture(scope="session")
def standby(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standby]:
    """A read-only standby of the test database server."""
    standby = Standby(tmp_path_factory.mktemp("standby"))
    yield standby
    standby.stop()


@pytest.fixture(scope="session", autouse=True)
def static_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Collect the static files once, because pages refer to them by their hashes.

    With autorefresh, test clients do not read the whole folder, which would take longer than most tests.
    """
    with xdist.once("static-files", tmp_path_factory.getbasetemp()) as mine:
        if mine:
            call_command("collectstatic", interactive=False, verbosity=0)
    live_settings.WHITENOISE_AUTOREFRESH = True
