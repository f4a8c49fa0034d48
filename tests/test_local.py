"""`python -m amalga.local`: its servers, its exit codes, and what it leaves behind, which is nothing."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from amalga.local.ports import free_port

SECONDS = 30
CONNECT = "import os, psycopg; db = psycopg.connect(os.environ['DATABASE_URL'], autocommit=True); "
WHO = CONNECT + "print(db.execute('SELECT pg_postmaster_start_time()').fetchone()[0])"
STAY = "print('up', flush=True); import time; time.sleep(60)"
PORTS = ("LOCAL_POSTGRES_PORT", "LOCAL_S3_PORT", "PORT")


class Laptop:
    """An installation of its own in a temporary folder, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LOCAL_FOLDER": str(self.folder),
        }
        env |= {name: str(port) for name, port in self.ports.items()}
        process = subprocess.Popen(
            [sys.executable, "-m", "amalga.local", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def python(self, code: str, *options: str) -> str:
        done = self.run(*options, sys.executable, "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def staying(self, *options: str) -> subprocess.Popen[str]:
        """A command that runs on, with its servers up."""
        process = self.start(*options, sys.executable, "-c", STAY)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    def processes(self) -> list[str]:
        """Whatever still runs in this installation."""
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


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    laptop = Laptop(tmp_path / "local")
    yield laptop
    laptop.close()
    assert laptop.processes() == []


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_command_gets_variables_that_work(laptop: Laptop) -> None:
    store = (
        "import os, boto3; s3 = boto3.client('s3'); bucket = os.environ['AWS_STORAGE_BUCKET_NAME'];"
        "s3.put_object(Bucket=bucket, Key='f/1', Body=b'hello');"
        "print(s3.get_object(Bucket=bucket, Key='f/1')['Body'].read())"
    )
    assert laptop.python(store) == "b'hello'"
    assert laptop.python(CONNECT + "print(db.execute('SELECT 1').fetchone()[0])") == "1"


def test_the_next_run_finds_the_data(laptop: Laptop) -> None:
    laptop.python(CONNECT + "db.execute('CREATE TABLE kept AS SELECT 42 AS answer')")
    assert laptop.python(CONNECT + "print(db.execute('TABLE kept').fetchone()[0])") == "42"


def test_an_ephemeral_run_leaves_nothing(laptop: Laptop) -> None:
    laptop.python(CONNECT, "--ephemeral")
    assert laptop.processes() == []
    assert list((laptop.folder / "throwaway").iterdir()) == []


def test_an_ephemeral_run_cleans_up_after_one_that_was_killed(laptop: Laptop) -> None:
    killed = laptop.staying("--ephemeral")
    killed.kill()
    killed.wait()
    laptop.python(CONNECT, "--ephemeral")
    assert laptop.processes() == []
    assert list((laptop.folder / "throwaway").iterdir()) == []


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("exit 0", 0), ("kill -TERM $$", 128 + signal.SIGTERM)])
def test_the_exit_code_is_passed_on(laptop: Laptop, command: str, code: int) -> None:
    assert laptop.run("sh", "-c", command).returncode == code


def test_an_unknown_command_is_named(laptop: Laptop) -> None:
    done = laptop.run("no-such-program")
    assert done.returncode == 127
    assert "no-such-program" in done.stderr


@pytest.mark.parametrize("variable", PORTS)
def test_a_taken_port_is_one_clear_line(laptop: Laptop, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        laptop.ports[variable] = stranger.getsockname()[1]
        done = laptop.run("--serve") if variable == "PORT" else laptop.run("true")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"Port {laptop.ports[variable]} is taken" in done.stderr
    assert f"{variable}=" in done.stderr
    assert laptop.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command_and_then_the_servers(laptop: Laptop, number: signal.Signals) -> None:
    process = laptop.staying()
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number
    assert laptop.processes() == []


def test_after_a_kill_the_next_run_works_and_finds_its_data(laptop: Laptop) -> None:
    laptop.python(CONNECT + "db.execute('CREATE TABLE kept AS SELECT 42 AS answer')")
    killed = laptop.staying()
    killed.kill()
    killed.wait()
    assert laptop.python(CONNECT + "print(db.execute('TABLE kept').fetchone()[0])") == "42"


def test_parts_of_uploads_that_a_kill_left_are_removed(laptop: Laptop) -> None:
    killed = laptop.staying()
    leftover = laptop.folder / "s3" / "amalga" / ".rclone_temp_multipart_1"
    leftover.write_bytes(b"half a part")
    killed.kill()
    killed.wait()
    laptop.python("pass")
    assert not leftover.exists()


def test_a_second_command_uses_the_servers_of_the_first(laptop: Laptop) -> None:
    laptop.staying()
    assert laptop.python(WHO) == laptop.python(WHO)


def test_who_is_left_takes_the_servers_over(laptop: Laptop) -> None:
    first, second = laptop.staying(), laptop.staying()
    first.terminate()
    first.wait()
    before = laptop.python(WHO)
    assert second.poll() is None
    assert laptop.python(WHO) == before


@pytest.mark.parametrize("server", ["postgres", "s3"])
def test_a_server_that_dies_is_started_again(laptop: Laptop, server: str) -> None:
    laptop.staying()
    pid_file = laptop.folder / f"{server}.pid"
    pid = int(pid_file.read_text())
    psutil.Process(pid).kill()
    wait_until(lambda: pid_file.exists() and pid_file.read_text() not in ("", str(pid)))
    assert laptop.python(CONNECT + "print('here')") == "here"


def test_only_its_owner_reads_a_secret(laptop: Laptop) -> None:
    laptop.python("pass")
    for name in ("secret-key", "s3-key", "postgres/password"):
        assert stat.S_IMODE((laptop.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(laptop.folder.stat().st_mode) == 0o700


def test_no_secret_stands_on_a_command_line(laptop: Laptop) -> None:
    laptop.staying()
    shown = " ".join(laptop.processes())
    for name in ("secret-key", "postgres/password"):
        assert (laptop.folder / name).read_text() not in shown
    assert (laptop.folder / "s3-key").read_text().split(",")[1] not in shown
