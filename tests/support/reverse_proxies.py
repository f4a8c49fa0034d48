"""nginx and Caddy with the files of deploy/, in front of a test gunicorn.

Only addresses, certificates, folders and the user are replaced. `python -m tests.support.reverse_proxies` installs
the programs if they are missing.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from amalga.local.processes import Daemon, free_port
from tests.support.certificate_authority import CertificateAuthority
from tests.support.debian import find, install

PROGRAMS = ("nginx", "caddy")
ADVICE = "No nginx or no Caddy for the tests: install both (apt or brew install nginx caddy), then run make again."
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
READY_SECONDS = 15


def get(proxy: str, path: str, *, cookies: str, trusted: ssl.SSLContext, seconds: float) -> http.client.HTTPResponse:
    """Send one request to a proxy over a new connection, and return the response, read completely."""
    place = urlsplit(proxy)
    connection = (
        http.client.HTTPSConnection(place.netloc, timeout=seconds, context=trusted)
        if place.scheme == "https"
        else http.client.HTTPConnection(place.netloc, timeout=seconds)
    )
    with closing(connection):
        connection.request("GET", path, headers={"Cookie": cookies})
        response = connection.getresponse()
        response.read()
        return response


class Nginx:
    """nginx with a configuration of deploy/; its included files are beside it, as in /etc/nginx/amalga."""

    def __init__(
        self, folder: Path, main: str, replaced: Mapping[str, str], *, upstreams: str = "nginx/upstreams.conf"
    ) -> None:
        folder.mkdir()
        shutil.copytree(DEPLOY / "nginx", folder / "amalga")
        for place in (folder / "upstreams.conf", folder / "amalga" / "upstreams.conf"):
            place.write_text(replace((DEPLOY / upstreams).read_text(), replaced))
        self.file = folder / "nginx.conf"
        self.file.write_text(ours(replace((DEPLOY / main).read_text(), replaced), folder))
        self.daemon = Daemon("nginx", folder, mark=str(self.file), stop_signal=signal.SIGTERM)

    def start(self) -> None:
        program = find("nginx")
        assert program, ADVICE
        self.daemon.start([program, "-c", str(self.file), "-g", "daemon off;"], env=os.environ)


def ours(text: str, folder: Path) -> str:
    """Return the configuration with all files in this folder and the current user."""
    kept_lines = [line for line in text.splitlines() if not line.startswith(("user ", "pid ", "error_log "))]
    user = ["user root;"] if os.geteuid() == 0 else []
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    lines = [*user, f"pid {folder}/pid;", f"error_log {folder}/error.log;", *kept_lines, ""]
    return "\n".join(lines).replace("/var/log/nginx", str(folder)).replace("http {\n", f"http {{\n{temporary}")


class Caddy:
    def __init__(self, folder: Path, file: str, replaced: Mapping[str, str], variables: Mapping[str, str]) -> None:
        folder.mkdir()
        self.folder, self.variables = folder, variables
        self.file = folder / "Caddyfile"
        self.file.write_text(replace((DEPLOY / file).read_text(), replaced))
        self.daemon = Daemon("caddy", folder, mark=str(self.file), stop_signal=signal.SIGTERM)

    def start(self) -> None:
        program = find("caddy")
        assert program, ADVICE
        env = {**os.environ, **self.variables, "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        self.daemon.start([program, "run", "--adapter", "caddyfile", "--config", str(self.file)], env=env)


def replace(text: str, replaced: Mapping[str, str]) -> str:
    for before, after in replaced.items():
        text = text.replace(before, after)
    return text


def wait_for(port: int, daemon: Daemon) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return
        except OSError:
            assert daemon.exit_code() is None, daemon.log_tail()
            assert time.monotonic() < end, daemon.log_tail()
            time.sleep(0.05)


@dataclass(frozen=True)
class Behind:
    """The addresses of gunicorn (`HOST:PORT` or `unix:PATH`), for all requests and for health checks only."""

    web: str
    probes: str

    def replaced(self) -> dict[str, str]:
        return {
            "127.0.0.1:8000": self.web,
            "127.0.0.1:8001": self.probes,
            "unix:/run/amalga/web.sock": self.web,
            "unix:/run/amalga/probes.sock": self.probes,
        }


@contextmanager
def nginx_in_container(folder: Path, behind: Behind) -> Iterator[str]:
    """Run deploy/nginx/container.conf, and yield the URL that a load balancer or Caddy would use."""
    port = free_port()
    replaced = {"listen 8080": f"listen 127.0.0.1:{port}", **behind.replaced()}
    with running(Nginx(folder / "nginx", "nginx/container.conf", replaced), port):
        yield f"http://localhost:{port}"


@contextmanager
def nginx_of_a_host(folder: Path, behind: Behind, authority: CertificateAuthority) -> Iterator[str]:
    """Run deploy/systemd/nginx.conf."""
    port, plain, certificate = free_port(), free_port(), str(authority.certificate("localhost"))
    replaced = {
        "listen [::]:443 ssl http2 backlog=4096;": "",
        "listen [::]:80;": "",
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{plain}",
        "server_name files.example.org": "server_name localhost",
        "/etc/letsencrypt/live/files.example.org/fullchain.pem": certificate,
        "/etc/letsencrypt/live/files.example.org/privkey.pem": certificate,
        **behind.replaced(),
    }
    with running(Nginx(folder / "nginx", "systemd/nginx.conf", replaced), port):
        yield f"https://localhost:{port}"


@contextmanager
def caddy_of_a_host(folder: Path, behind: Behind, authority: CertificateAuthority) -> Iterator[str]:
    """Run deploy/systemd/Caddyfile in front of deploy/systemd/nginx-behind-caddy.conf."""
    port, middle, certificate = free_port(), free_port(), authority.certificate("localhost")
    between = {"127.0.0.1:8080": f"127.0.0.1:{middle}"}
    site = {"files.example.org {": f"https://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {certificate}"}
    nginx = Nginx(folder / "nginx", "systemd/nginx-behind-caddy.conf", {**between, **behind.replaced()})
    caddy = Caddy(
        folder / "caddy", "systemd/Caddyfile", {**between, **site, "admin off": "admin off\n\tauto_https off"}, {}
    )
    with running(nginx, middle), running(caddy, port):
        yield f"https://localhost:{port}"


@contextmanager
def caddy_of_compose(folder: Path, behind: Behind) -> Iterator[str]:
    """Run deploy/compose/Caddyfile in front of deploy/nginx/container.conf, with the sockets of compose.yaml."""
    port, middle = free_port(), free_port()
    inner = {"listen 8080": f"listen 127.0.0.1:{middle}", **behind.replaced()}
    nginx = Nginx(folder / "nginx", "nginx/container.conf", inner, upstreams="compose/upstreams.conf")
    variables = {"SITE_ADDRESS": f"http://localhost:{port}", "STORE_ADDRESS": f"http://s3.localhost:{port}"}
    caddy = Caddy(folder / "caddy", "compose/Caddyfile", {"proxy:8080": f"127.0.0.1:{middle}"}, variables)
    with running(nginx, middle), running(caddy, port):
        yield f"http://localhost:{port}"


@contextmanager
def running(proxy: Nginx | Caddy, port: int) -> Iterator[None]:
    try:
        proxy.start()
        wait_for(port, proxy.daemon)
        yield
    finally:
        proxy.daemon.stop()


def main() -> str | None:
    """Return None, or advice for a person."""
    return None if all(map(find, PROGRAMS)) or (install(*PROGRAMS) and all(map(find, PROGRAMS))) else ADVICE


if __name__ == "__main__":
    sys.exit(main())
