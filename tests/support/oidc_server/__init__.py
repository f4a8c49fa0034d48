"""A real OpenID provider, certified by the OpenID Foundation: oidc-provider, on Node.js.

`python -m tests.support.oidc_server` installs it, from the versions and hashes in package-lock.json.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from amalga.local.processes import Daemon
from tests.support.reverse_proxies import wait_for

SOURCE = Path(__file__).resolve().parent
PROJECT = SOURCE.parents[2]
FOLDER = PROJECT / ".oidc-server"
FILES = ("package.json", "package-lock.json", "server.mjs")
CLIENT, SECRET = "amalga", "shared-by-both"
ADVICE = "No identity provider for the tests: install Node.js 20 or newer with npm, then run make again."


def is_installed() -> bool:
    installed = FOLDER / "installed-lock.json"
    return installed.exists() and installed.read_bytes() == (SOURCE / "package-lock.json").read_bytes()


def install() -> str | None:
    """Install the provider. Return None, or advice for a person."""
    npm = shutil.which("npm")
    if not npm and not _install_node():
        return ADVICE
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(SOURCE / name, FOLDER / name)
    command = [npm or "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    if subprocess.run(command, cwd=FOLDER).returncode:
        return ADVICE
    shutil.copy(SOURCE / "package-lock.json", FOLDER / "installed-lock.json")
    return None


def _install_node() -> bool:
    """Install Debian's packages if this process is root. Return whether it succeeded."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "nodejs", "npm"]
    return all(
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL).returncode == 0
        for command in (["apt-get", "update", "-qq"], packages)
    )


@contextmanager
def serving(folder: Path, issuer: str, *, redirect_uri: str) -> Iterator[None]:
    """Run the provider, with one client, until the end of the block."""
    node = shutil.which("node")
    assert node, ADVICE
    assert is_installed(), ADVICE
    shutil.copy(SOURCE / "server.mjs", FOLDER / "server.mjs")
    daemon = Daemon("oidc-server", folder, mark="server.mjs", stop_signal=signal.SIGTERM)
    daemon.start([node, str(FOLDER / "server.mjs"), issuer, redirect_uri], env=os.environ)
    try:
        port = urlsplit(issuer).port
        assert port
        wait_for(port, daemon)
        yield
    finally:
        daemon.stop()
