"""The systemd units and scripts of a server without containers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.db import connection

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "deploy" / "systemd"
PYTHON = "/srv/amalga/current/.venv/bin/python"
SERVICES = sorted(path.stem for path in FOLDER.glob("*.service"))
HARD = ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "ProtectKernelModules",
        "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality")  # fmt: skip


def directives(name: str) -> list[tuple[str, str]]:
    """Return the directives of a unit in order; a name can appear several times."""
    lines = [line for line in (FOLDER / name).read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines]


def commands_of(name: str) -> list[str]:
    return [text.removeprefix(f"{PYTHON} ") for word, text in directives(name) if word == "ExecStart"]


# --- units ------------------------------------------------------------------------------------


def test_units_run_the_commands_of_the_procfile() -> None:
    lines = dict(line.split(": ", 1) for line in (PROJECT / "Procfile").read_text().splitlines())
    assert commands_of("amalga-web.service") == [f"-m {lines['web']}"]
    assert commands_of("amalga-worker.service") == [lines["worker"].removeprefix("python ")]
    every = re.search(r" --every (\d+)$", lines["sweep"])
    assert every
    assert commands_of("amalga-sweep.service") == [lines["sweep"].removeprefix("python ").removesuffix(every[0])]
    assert ("OnUnitInactiveSec", every[1]) in directives("amalga-sweep.timer")


@pytest.mark.parametrize("name", SERVICES)
def test_all_services_run_without_privileges(name: str) -> None:
    """systemd applies `amalga-.service.d` to all services with this prefix."""
    assert name.startswith("amalga-")
    all_of_them = dict(directives("amalga-.service.d/all.conf"))
    assert {all_of_them[word] for word in HARD} == {"yes"}
    assert (all_of_them["CapabilityBoundingSet"], all_of_them["ProtectSystem"]) == ("", "strict")
    assert not {word for word, _ in directives(f"{name}.service")} & set(all_of_them)


@pytest.mark.parametrize(("name", "in_timeouts"), [("web", "web process"), ("worker", "worker"), ("sweep", "worker")])
def test_processes_get_time_to_stop(name: str, in_timeouts: str) -> None:
    table = (PROJECT / "docs" / "operate" / "timeouts.md").read_text()
    row = re.search(rf"\| platform: kill of the {in_timeouts} \| (\d+) s", table)
    assert row
    assert ("TimeoutStopSec", row[1]) in directives(f"amalga-{name}.service")


def test_oneshot_services_have_a_timer_and_others_are_restarted() -> None:
    for name in SERVICES:
        if ("Type", "oneshot") in directives(f"{name}.service"):
            assert ("WantedBy", "timers.target") in directives(f"{name}.timer")
        else:
            assert ("WantedBy", "multi-user.target") in directives(f"{name}.service")
            assert ("Restart", "always") in directives(f"{name}.service")


@pytest.mark.parametrize("name", ["systemd/Caddyfile", "compose/Caddyfile"])
def test_caddy_closes_idle_connections_before_nginx(name: str) -> None:
    nginx = re.search(
        r"^keepalive_timeout (\d+)s;", (PROJECT / "deploy" / "nginx" / "http.conf").read_text(), re.MULTILINE
    )
    caddy = re.search(r"keepalive (\d+)s", (PROJECT / "deploy" / name).read_text())
    assert nginx
    assert caddy
    assert int(caddy[1]) < int(nginx[1])


def test_documented_commands_exist() -> None:
    pages = (PROJECT / "deploy" / "server.md", PROJECT / "docs" / "getting-started" / "systemd.md")
    texts = [path.read_text() for path in (*FOLDER.rglob("amalga-*.service"), *pages)]
    commands = set(re.findall(r"(?:manage\.py|amalga\.sh\"?|&& amalga) ([a-z_]+)", "\n".join(texts)))
    assert {"sweep", "fsck", "create_admin", "doctor"} <= commands
    assert commands <= set(get_commands())


# --- the socket -------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_requests_wait_while_the_web_server_is_replaced(tmp_path: Path) -> None:
    """systemd keeps the socket open; gunicorn inherits it and reports when it is ready."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications,
    ):
        notifications.bind(str(tmp_path / "notify"))
        notifications.settimeout(60)
        port = listener.getsockname()[1]
        with ThreadPoolExecutor() as pool:
            response = pool.submit(status, f"http://localhost:{port}/healthz")
            web = as_systemd_would(listener, tmp_path / "notify", tmp_path / "web.log")
            try:
                assert b"READY=1" in notifications.recv(1000)
                assert response.result() == 200
            finally:
                web.send_signal(signal.SIGTERM)
                assert web.wait(timeout=30) == 0


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as response:
        return int(response.status)


def as_systemd_would(listener: socket.socket, notify: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start gunicorn with the socket as file descriptor 3 and its process ID in the environment."""
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    env = {**os.environ, "DATABASE_URL": database, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(notify)}
    third = f'export LISTEN_PID=$$; exec "$@" 3<&{listener.fileno()}'
    gunicorn = [sys.executable, *commands_of("amalga-web.service")[0].split()]
    with log.open("wb") as stream:
        return subprocess.Popen(
            ["/bin/bash", "-c", third, "-", *gunicorn], env=env, cwd=PROJECT, stdout=stream, stderr=stream,
            pass_fds=[listener.fileno()],
        )  # fmt: skip


# --- upgrade.sh -------------------------------------------------------------------------------


class Host:
    """An installation root, where `systemctl`, `systemd-run` and Python only record their calls, with the
    current version."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin, self.units = (folder / name for name in ("srv/amalga", "bin", "units"))
        self.nginx = folder / "nginx"
        for path in (self.home, self.bin, self.units):
            path.mkdir(parents=True)
        self.calls = folder / "calls"
        self.refused = folder / "refused"
        self._source(folder / "source")
        for name in ("systemctl", "systemd-run", "python3"):
            self._program(name)

    def _source(self, source: Path) -> None:
        """Create the source of a version, with the paths of this root in its script."""
        (source / "deploy").mkdir(parents=True)
        shutil.copytree(FOLDER, source / "deploy" / "systemd")
        shutil.copytree(PROJECT / "deploy" / "nginx", source / "deploy" / "nginx")
        script = source / "deploy" / "systemd" / "upgrade.sh"
        text = script.read_text().replace("=/srv/amalga\n", f"={self.home}\n")
        text = text.replace("=/etc/systemd/system\n", f"={self.units}\n")
        script.write_text(text.replace("=/etc/nginx/amalga\n", f"={self.nginx}\n"))
        self.source = source

    def _program(self, name: str) -> None:
        """Create a fake program: `-m venv FOLDER` copies it, and calls that match a line of `refused` fail."""
        file = self.bin / name
        file.write_text(
            f'#!/bin/sh\ncall="{name} $*, of $(readlink {self.home}/current)"\necho "$call" >> {self.calls}\n'
            f'[ "$2" = venv ] && mkdir -p "$3/bin" && cp "$0" "$3/bin/python"\n'
            f'if [ -s {self.refused} ] && echo "$call" | grep -qf {self.refused}; then exit 1; fi\n'
        )
        file.chmod(0o755)

    def upgrade(self, *, refused: str = "") -> subprocess.CompletedProcess[str]:
        self.refused.write_text(refused)
        script = self.source / "deploy" / "systemd" / "upgrade.sh"
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        command = [str(script), str(self.source), "https://files.example.org"]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    def serves(self) -> str:
        current = self.home / "current"
        return os.readlink(current) if current.is_symlink() else ""

    def place_before(self) -> str:
        """Install a previous version and return its path."""
        before = self.home / "before"
        shutil.copytree(self.source, before)
        (self.home / "current").symlink_to(before)
        return str(before)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_new_version_is_prepared_served_and_checked(host: Host) -> None:
    before = host.place_before()
    done = host.upgrade()
    assert done.returncode == 0, done.stderr
    assert host.serves() != before
    assert (host.units / "amalga-.service.d" / "all.conf").exists()
    calls = host.calls.read_text()
    acts = ("venv", "pip install", "collectstatic", "check --deploy", "migrate", "restart amalga-web", "smoke.py")
    order = [calls.index(word) for word in acts]
    assert order == sorted(order)


@pytest.mark.parametrize("word", ["-m pip", "collectstatic", "check --deploy", "migrate"])
def test_failed_preparation_keeps_the_current_version(word: str, host: Host) -> None:
    before = host.place_before()
    done = host.upgrade(refused=word)
    assert (done.returncode, host.serves()) == (1, before)
    assert "restart" not in host.calls.read_text()


def test_unresponsive_version_is_rolled_back(host: Host) -> None:
    before = host.place_before()
    done = host.upgrade(refused="smoke.py")
    assert (done.returncode, host.serves()) == (1, before)
    assert host.calls.read_text().count("restart amalga-web") == 2
    assert f"Restored the previous version: {before}" in done.stderr


def test_upgrade_gives_nginx_the_limits_of_the_new_version(host: Host) -> None:
    host.nginx.mkdir()
    assert host.upgrade().returncode == 0
    assert {path.name for path in host.nginx.iterdir()} == {path.name for path in (PROJECT / "deploy/nginx").iterdir()}
    assert "systemctl try-reload-or-restart nginx.service" in host.calls.read_text()


def test_upgrade_without_nginx_leaves_it_alone(host: Host) -> None:
    assert host.upgrade().returncode == 0
    assert (host.nginx.exists(), "nginx.service" in host.calls.read_text()) == (False, False)


@pytest.mark.parametrize("step", ["daemon-reload", "enable", "restart"])
def test_version_that_does_not_start_is_rolled_back(step: str, host: Host) -> None:
    before = host.place_before()
    done = host.upgrade(refused=f"^systemctl {step}.*srv/amalga/2")
    assert (done.returncode, host.serves()) == (1, before)
    assert f"restart amalga-web.service amalga-worker.service, of {before}" in host.calls.read_text()
    assert "smoke.py" not in host.calls.read_text()
    assert f"Restored the previous version: {before}" in done.stderr


def test_two_versions_that_do_not_start_are_reported(host: Host) -> None:
    before = host.place_before()
    done = host.upgrade(refused="^systemctl restart")
    assert (done.returncode, host.serves()) == (1, before)
    assert "the previous version does not start either" in done.stderr


def test_first_version_that_does_not_respond_is_reported(host: Host) -> None:
    done = host.upgrade(refused="smoke.py")
    assert (done.returncode, "no previous version" in done.stderr) == (1, True)


def test_documented_settings_are_valid_for_systemd_and_the_app() -> None:
    """systemd treats all text after a value as a part of the value."""
    text = (PROJECT / "docs" / "getting-started" / "systemd.md").read_text()
    block = next(part for part in text.split("```") if part.lstrip().startswith("#") and "\nSECRET_KEY=" in part)
    variables = dict(line.split("=", 1) for line in block.splitlines() if line and not line.startswith("#"))
    assert not [line for line in variables.values() if " " in line]
    env = {name: value.replace("…", "a-secret-of-many-0123456789" * 2) for name, value in variables.items()}
    words = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    env["PATH"] = os.environ["PATH"]
    done = subprocess.run(words, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
