"""The site behind the shipped proxies: long names, long searches, and more requests than it can serve."""

from __future__ import annotations

import http.client
import os
import re
import selectors
import signal
import socket
import ssl
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import yaml
from django.contrib.auth.models import User
from django.db import connection

from amalga.local.processes import Daemon, free_port
from tests.conftest import PROJECT, serving
from tests.deploy.test_proxies import REVERSE_PROXIES
from tests.support import factories, reverse_proxies
from tests.support.certificate_authority import CertificateAuthority
from tests.support.form_client import Visitor
from tests.support.reverse_proxies import Behind

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

CLIENTS = 700
ADDRESSES = 10
SECONDS = 30
LONG_NAME = "長い名前" * 62 + "帳.pptx"


@pytest.fixture(scope="module")
def behind(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """One process with two threads, which reaches its capacity quickly."""
    probes = f"127.0.0.1:{free_port()}"
    variables = {"WEB_CONCURRENCY": "1", "WEB_THREADS": "2", "PROXY_COUNT": "1", "PROBE_BIND": probes}
    with serving(tmp_path_factory.mktemp("proxied"), variables) as url:
        yield Behind(f"127.0.0.1:{urlsplit(url).port}", probes)


def cookies_of(behind: Behind, user: User) -> str:
    return "; ".join(f"{name}={value}" for name, value in Visitor(f"http://{behind.web}", user).cookies.items())


def get(url: str, path: str, cookies: str, authority: CertificateAuthority) -> http.client.HTTPResponse:
    trusted = ssl.create_default_context(cafile=str(authority.file))
    return reverse_proxies.get(url, path, cookies=cookies, trusted=trusted, seconds=SECONDS)


@pytest.mark.parametrize("name", REVERSE_PROXIES)
def test_download_with_a_long_name_passes_the_proxy(
    name: str, behind: Behind, authority: CertificateAuthority, tmp_path: Path, alice: User
) -> None:
    assert len(LONG_NAME) > 250
    file = factories.create_file(alice, name=LONG_NAME)
    with REVERSE_PROXIES[name](tmp_path, behind, authority) as url:
        response = get(url, f"/files/{file.permanent_id}/download", cookies_of(behind, alice), authority)
    assert (response.status, len(response.headers["Location"]) > 2000) == (302, True)


@pytest.mark.parametrize("name", REVERSE_PROXIES)
def test_long_search_passes_the_proxy(
    name: str, behind: Behind, authority: CertificateAuthority, tmp_path: Path, alice: User
) -> None:
    """Each character becomes nine characters of the request line."""
    path = f"/?q={quote('長' * 100)}&unknown={quote('長' * 750)}"
    assert 7000 < len(path) < 8000
    with REVERSE_PROXIES[name](tmp_path, behind, authority) as url:
        assert get(url, path, cookies_of(behind, alice), authority).status == 200


def test_compose_web_server_is_reachable_through_its_unix_sockets(
    django_db_setup: None, authority: CertificateAuthority, tmp_path: Path
) -> None:
    """Starts with the variables of compose.yaml, except for the folder of the sockets."""
    environment = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]["web"]["environment"]
    own = {
        name: environment[name].replace("/run/amalga", str(tmp_path)) for name in ("GUNICORN_CMD_ARGS", "PROBE_BIND")
    }
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    web = Daemon("web", tmp_path, mark="gunicorn", stop_signal=signal.SIGTERM)
    command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "amalga" / "gunicorn_conf.py"), "amalga.wsgi"]
    web.start(command, env={**os.environ, **own, "DATABASE_URL": database, "PROXY_COUNT": "1"})
    behind = Behind(f"unix:{tmp_path}/web.sock", f"unix:{tmp_path}/probes.sock")
    try:
        with reverse_proxies.caddy_of_compose(tmp_path, behind) as url:
            end = time.monotonic() + SECONDS
            while get(url, "/healthz", "", authority).status != 200:
                assert time.monotonic() < end
                time.sleep(0.1)
            assert get(url, "/accounts/login/", "", authority).status == 200
    finally:
        web.stop()


def test_requests_over_capacity_get_503_with_retry_after(
    behind: Behind, authority: CertificateAuthority, tmp_path: Path, alice: User
) -> None:
    for number in range(50):
        factories.create_file(alice, name=f"file {number}")
    cookies = cookies_of(behind, alice)
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n".encode()
    with reverse_proxies.nginx_in_container(tmp_path, behind) as url, ExitStack() as stack:
        clients = [stack.enter_context(connect(url, number, request)) for number in range(CLIENTS)]
        begun = time.monotonic()
        with urllib.request.urlopen(f"{url}/healthz", timeout=SECONDS) as probe:
            assert (probe.status, time.monotonic() - begun < 1) == (200, True)
        responses = responses_to(clients)
        assert get(url, "/", cookies, authority).status == 200  # the overload has ended
    codes = Counter(int(response.split()[1]) for response in responses)
    assert set(codes) == {200, 503}
    assert codes[200] >= 256
    refused = [response for response in responses if response.startswith(b"HTTP/1.1 503")]
    assert all(b"\r\nRetry-After: 5\r\n" in response for response in refused)
    assert all(response.endswith(b"</html>\n") for response in responses if response not in refused)
    log = (tmp_path / "nginx" / "access.log").read_text()
    assert len(re.findall(r" 503 \d+ [\d.]+ [0-9a-f]{32} busy$", log, re.MULTILINE)) == codes[503]


def connect(url: str, number: int, request: bytes) -> socket.socket:
    client = socket.socket()
    client.settimeout(SECONDS)
    client.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
    client.connect(("127.0.0.1", urlsplit(url).port or 0))
    client.sendall(request)
    return client


def responses_to(clients: list[socket.socket]) -> list[bytes]:
    received = dict.fromkeys(clients, b"")
    with selectors.DefaultSelector() as selector:
        for each in clients:
            selector.register(each, selectors.EVENT_READ)
        end = time.monotonic() + SECONDS
        while selector.get_map() and time.monotonic() < end:
            for key, _events in selector.select(timeout=1):
                client: Any = key.fileobj
                if chunk := client.recv(65536):
                    received[client] += chunk
                else:
                    selector.unregister(client)
    return list(received.values())
