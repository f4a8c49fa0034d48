"""The contents of the image and its helper programs. test_image_build.py runs the build."""

from __future__ import annotations

import hashlib
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from amalga.local.processes import free_port
from tests.code.test_architecture import tracked
from tests.support.dockerfile import Instruction, ignore_lines, instructions, is_sent

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / ".venv-deploy" / "bin"
PROGRAMS = PROJECT / "deploy" / "image"
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
NEEDED = ("amalga/", "uploads/", "templates/", "locale/", "manage.py", "requirements.txt", "deploy/image/",
          "deploy/nginx/")  # fmt: skip
NEVER = (".git/config", ".env", ".local/postgres/password", "amalga/local/server.py", "uploads/__pycache__/x.pyc",
         "deploy/aws/amalga.yaml", "tests/conftest.py", "requirements-dev.txt")  # fmt: skip


def last_stage() -> list[Instruction]:
    stage: list[Instruction] = []
    for instruction in instructions(DOCKERFILE):
        stage = [] if instruction.name == "FROM" else [*stage, instruction]
    return stage


def instructions_named(name: str) -> list[Instruction]:
    return [instruction for instruction in last_stage() if instruction.name == name]


class Ok(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def program(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAMS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=30)


@contextmanager
def answering(status: int, body: bytes = b"") -> Iterator[int]:
    """Yield the port of a server that gives the same response to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


# --- Dockerfile and .dockerignore -------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([TOOLS / "hadolint", PROJECT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_image_contains_only_needed_files() -> None:
    ignore = ignore_lines((PROJECT / ".dockerignore").read_text())
    files = {path.relative_to(PROJECT).as_posix() for path in tracked()}
    needed = {name for name in files if name.startswith(NEEDED) and not name.startswith("amalga/local/")}
    assert {name for name in files if is_sent(name, ignore)} == needed
    assert not [name for name in NEVER if is_sent(name, ignore)]


def test_image_runs_unprivileged_and_without_a_shell() -> None:
    assert [instruction.text for instruction in instructions_named("USER")] == ["10001:10001"]
    assert [instruction.text for instruction in instructions_named("VOLUME")] == ['["/tmp"]']
    assert instructions_named("CMD")[0].words() == [
        "python",
        "-m",
        "gunicorn",
        "-c",
        "amalga/gunicorn_conf.py",
        "amalga.wsgi",
    ]
    assert not instructions_named("ENTRYPOINT")


def test_all_stages_use_one_pinned_base_image() -> None:
    bases = [instruction.words()[0] for instruction in instructions(DOCKERFILE) if instruction.name == "FROM"]
    (base,) = (
        instruction.text for instruction in instructions(DOCKERFILE) if instruction.text.startswith("PYTHON_IMAGE=")
    )
    assert set(bases) == {"${PYTHON_IMAGE}"}
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", base)


def test_no_secret_stays_in_the_image() -> None:
    """Variables of a RUN are not stored in the image; ENV, ARG and LABEL are."""
    texts = [instruction.text for instruction in last_stage() if instruction.name in {"ENV", "ARG", "LABEL"}]
    assert texts
    assert not [text for text in texts if re.search(r"SECRET|PASSWORD|TOKEN|DATABASE|AWS_|KEY", text)]
    assert not [instruction for instruction in instructions(DOCKERFILE) if instruction.name == "ADD"]


@pytest.fixture
def install_converters(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """`install_converters("yes")` runs the step of the build with this argument, and with fakes of the programs that it
    calls. They print how they were called."""
    for name in ("apt-get", "rm"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    (step,) = (instruction.text for instruction in instructions_named("RUN") if "CONVERTERS" in instruction.text)

    def run(value: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(tmp_path), "CONVERTERS": value}
        return subprocess.run(["/bin/sh", "-ec", step], env=env, capture_output=True, text=True, timeout=30)

    return run


def test_converters_are_installed_as_documented(
    install_converters: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    page = (PROJECT / "docs" / "configuration.md").read_text()
    documented = re.search(r"`apt-get install --no-install-recommends ([^`]+)`", page)
    assert documented
    done = install_converters("yes")
    *calls, last = done.stdout.splitlines()
    assert done.returncode == 0
    assert calls == ["apt-get update", f"apt-get install --yes --no-install-recommends {documented[1]}"]
    assert last.startswith("rm -rf /var/lib/apt/lists/")


def test_converters_are_left_out_by_default(
    install_converters: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    assert "CONVERTERS=no" in [instruction.text for instruction in instructions_named("ARG")]
    done = install_converters("no")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("value", ["", "on", "YES", "true"])
def test_unknown_choice_of_converters_stops_the_build(
    install_converters: Callable[[str], subprocess.CompletedProcess[str]], value: str
) -> None:
    done = install_converters(value)
    assert (done.returncode, done.stdout) == (1, "")
    assert "CONVERTERS must be yes or no" in done.stderr


def pinned(path: str) -> dict[str, Requirement]:
    """The requirements of a list that `make requirements` writes, by name."""
    lines = (PROJECT / path).read_text().splitlines()
    requirements = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalpha()]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_requirements_include_all_dependencies() -> None:
    """The image is installed without resolving dependencies."""
    direct = [Requirement(line.partition("#")[0]) for line in _lines("requirements.in")]
    names = pinned("requirements.txt")
    extras: dict[str, set[str]] = {canonicalize_name(requirement.name): requirement.extras for requirement in direct}
    missing = {
        f"{name} needs {need}"
        for name, requirement in names.items()
        if not requirement.marker or requirement.marker.evaluate()
        for need in required_packages(name, extras.get(name, set()))
        if need not in names
    }
    assert missing == set()
    assert set(extras) <= set(names)


LISTS = ("requirements.txt", "requirements-dev.txt", "deploy/requirements.txt", "tests/support/digest-store.txt")


@pytest.mark.parametrize("path", LISTS)
def test_every_requirement_has_a_version_and_hashes(path: str) -> None:
    text = (PROJECT / path).read_text()
    entries = re.split(r"\n(?=[a-z])", re.sub(r"(?m)^ *#.*\n?", "", text).strip())
    assert len(entries) > 20
    assert [entry for entry in entries if not re.match(r"[a-z0-9.-]+(\[[a-z,-]+\])?==", entry)] == []
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []


@pytest.mark.parametrize("path", LISTS)
def test_pinned_versions_match_the_direct_requirements(path: str) -> None:
    written = [Requirement(line.partition("#")[0]) for line in _lines(path.replace(".txt", ".in"))]
    locked = pinned(path)
    wrong = [
        str(requirement)
        for requirement in written
        if locked[canonicalize_name(requirement.name)].specifier != requirement.specifier
    ]
    assert wrong == []


def test_every_install_requires_hashes() -> None:
    for path in ("Makefile", "Dockerfile", "deploy/systemd/upgrade.sh"):
        commands = (PROJECT / path).read_text().replace("\\\n", " ").splitlines()
        installs = [line for line in commands if re.search(r"\binstall\b.* -r ", line)]
        assert installs, path
        assert [line for line in installs if "--require-hashes" not in line] == []


def test_development_uses_the_versions_of_production() -> None:
    production, dev = pinned("requirements.txt"), pinned("requirements-dev.txt")
    assert {name: requirement.specifier for name, requirement in production.items()} == {
        name: requirement.specifier for name, requirement in dev.items() if name in production
    }


def _lines(path: str) -> list[str]:
    lines = (PROJECT / path).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith(("#", "-r"))]


def required_packages(name: str, extras: Set[str]) -> set[str]:
    requirements = [Requirement(line) for line in metadata.requires(name) or []]
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras})
    }


# --- the programs of the image ----------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (301, 1), (404, 1)])
def test_health_check_passes_for_200_only(status: int, code: int) -> None:
    with answering(status) as port:
        done = program("healthy.py", PORT=str(port))
    assert done.returncode == code
    assert str(status) in done.stderr or code == 0


def test_health_checks_go_to_their_own_socket(tmp_path: Path) -> None:
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "probes.sock"), Ok) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        done = program("healthy.py", PORT=str(free_port()), PROBE_BIND=f"unix:{tmp_path}/probes.sock")
        server.shutdown()
    assert done.returncode == 0, done.stderr


def test_health_check_fails_without_a_web_server() -> None:
    done = program("healthy.py", PORT=str(free_port()))
    assert (done.returncode, done.stderr.strip()) == (1, "no response: ConnectionRefusedError")


def test_certificates_with_the_right_digest_are_saved(tmp_path: Path) -> None:
    target = tmp_path / "certificates" / "rds.pem"
    with answering(200, b"a bundle") as port:
        url = f"http://127.0.0.1:{port}/global-bundle.pem"
        done = program("fetch_authorities.py", url, hashlib.sha256(b"a bundle").hexdigest().upper(), str(target))
    assert (done.returncode, target.read_bytes()) == (0, b"a bundle")


def test_changed_certificates_stop_the_build(tmp_path: Path) -> None:
    target = tmp_path / "rds.pem"
    with answering(200, b"another bundle") as port:
        done = program("fetch_authorities.py", f"http://127.0.0.1:{port}/x", "0" * 64, str(target))
    assert (done.returncode, target.exists()) == (1, False)
    assert hashlib.sha256(b"another bundle").hexdigest() in done.stderr


def test_no_certificates_are_fetched_without_a_digest(tmp_path: Path) -> None:
    done = program("fetch_authorities.py", f"http://127.0.0.1:{free_port()}/x", "", str(tmp_path / "rds.pem"))
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
