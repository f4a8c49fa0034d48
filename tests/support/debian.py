"""Programs of Debian that the tests need."""

from __future__ import annotations

import os
import shutil
import subprocess


def find(program: str) -> str | None:
    """Return the path of a program, also if it is only in the PATH of root."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def install(*packages: str) -> bool:
    """Install packages, if possible, without starting their services. Return whether it succeeded."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    commands = (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages])
    return all(subprocess.run(command, env=env, stdout=subprocess.DEVNULL).returncode == 0 for command in commands)
