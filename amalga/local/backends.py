"""The two embedded servers: Postgres, and `rclone serve s3` for a plain folder."""

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
from amalga.local.processes import Daemon, Lock, StartupError, die_with_parent, require_free_port
from amalga.local.programs import UNPRIVILEGED_NAME, UnprivilegedUser, own_programs, programs_for
from amalga.local.roles import SUPERUSER, demote

READY_SECONDS = 60  # recovery after a crash, on a slow disk
STARTS = 5  # failed starts in a row before we give up
RESTART_SECONDS = 1
SETTLED_SECONDS = 30  # a server that ran this long has recovered
MARK = "amalga.data"  # a custom Postgres setting that identifies our process in a process list


class Backend(Protocol):
    """One kind of embedded server; `Server` below runs it."""

    name: str
    port_variable: str
    daemon: Daemon

    def prepare(self, *, after_crash: bool) -> None: ...
    def start(self, port: int) -> None: ...
    def responds(self, port: int) -> bool: ...
    def variables(self, port: int) -> dict[str, str]: ...


class Server:
    """One server of an installation, which several processes can share.

    The first process that needs it holds its lock and runs it; others use it. When the holder ends, one of the other
    processes takes over.
    """

    def __init__(self, backend: Backend, folder: Path, *, port: int) -> None:
        self.backend = backend
        self.port = port
        self._lock = Lock(folder / f"{backend.name}.lock")
        self._port_file = folder / f"{backend.name}.port"
        self._is_holder = False
        self._failures = 0
        self._started_at = 0.0

    def begin(self) -> None:
        """Start the server, unless another process runs it. Does not wait for it."""
        if self._lock.acquire():
            after_crash = self.backend.daemon.stop_leftover()
            self._port_file.unlink(missing_ok=True)
            require_free_port(self.port, self.backend.port_variable)
            self.backend.prepare(after_crash=after_crash)
            self._start()

    def tend(self) -> None:
        """Take over from a holder that ended; restart the server if it died. Call it often."""
        if not self._is_holder:
            self.begin()
        elif self.backend.daemon.exit_code() is not None:
            self._start_again()

    def wait(self, pause: Callable[[], None]) -> None:
        """Return when the server responds. `pause` is called in between, and can raise to give up."""
        end = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > end:
                raise StartupError(f"{self.backend.name} does not answer: {self.backend.daemon.last_words()}")
            pause()
            self.tend()

    def variables(self) -> dict[str, str]:
        return self.backend.variables(self.port)

    def stop(self) -> None:
        """Stop the server if this process runs it."""
        if self._is_holder:
            self.backend.daemon.stop()
            self._port_file.unlink(missing_ok=True)
            self._is_holder = False
        self._lock.release()

    def _is_ready(self) -> bool:
        if not self._is_holder:
            if not self._port_file.exists():
                return False
            self.port = int(self._port_file.read_text())
        return self.backend.responds(self.port)

    def _start(self) -> None:
        self._is_holder = True
        self._started_at = time.monotonic()
        self.backend.start(self.port)
        # Replaced atomically: another process may be reading.
        scratch = self._port_file.with_suffix(".new")
        scratch.write_text(str(self.port))
        scratch.replace(self._port_file)

    def _start_again(self) -> None:
        uptime = time.monotonic() - self._started_at
        if uptime < RESTART_SECONDS:
            return
        self._failures = 1 if uptime > SETTLED_SECONDS else self._failures + 1
        if self._failures == STARTS:
            raise StartupError(f"{self.backend.name} does not stay up: {self.backend.daemon.last_words()}")
        self.backend.daemon.stop_leftover()
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
        """Create the folder. Only its `data` belongs to the user that Postgres runs as; root owns the rest."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            for path in (self.folder, self.password_file):
                if path.exists():  # earlier versions changed the owner of both
                    os.chown(path, self.folder.parent.stat().st_uid, -1, follow_symlinks=False)
            self._runs_as = UnprivilegedUser(self._owner())

    def start(self, port: int) -> None:
        options = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # Postgres refuses a path of more than 107 bytes
            "log_timezone": "UTC",
            MARK: str(self.data),
        }
        if self.throwaway:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [self._program("postgres"), "-D", self._data_path(self.data), *settings]
        step_down = self._runs_as.options if self._runs_as else ()
        self.daemon.start(command, env=os.environ, step_down=step_down, cwd=self.data)

    def run(self, program: str, *options: str, data: Path, stdin: int = subprocess.DEVNULL) -> None:
        """Fill the new folder `data` with one of Postgres' programs. Raises StartupError with its error output."""
        data.mkdir(mode=0o700)
        if self._runs_as:
            self._runs_as.take_ownership(data)
        step_down = self._runs_as.options if self._runs_as else ()
        command = [self._program(program), "--pgdata", self._data_path(data), *options]
        command = [*die_with_parent(signal.SIGTERM, *step_down), *command]
        result = subprocess.run(
            command, env=os.environ, cwd=data, stdin=stdin, capture_output=True, text=True, process_group=0
        )
        if result.returncode:
            raise StartupError(f"{program} failed: {' / '.join(result.stderr.strip().splitlines()[-4:])}")

    def responds(self, port: int) -> bool:
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
        """Return the user ID of the owner of the data, or of its future owner; 0 for root."""
        if not self.data.exists():
            return self.folder.stat().st_uid
        owner = self.data.stat().st_uid
        if owner == 0:
            raise StartupError(
                f"Postgres cannot run as root, whose data this is: chown -R {UNPRIVILEGED_NAME} '{self.data}'"
            )
        return owner

    def _url(self, port: int, database: str, *, user: str = user) -> str:
        return f"postgres://{user}:{self.password_file.read_text()}@127.0.0.1:{port}/{database}"

    def _program(self, name: str) -> str:
        if not self._programs:
            self._programs = programs_for(self._runs_as) if self._runs_as else own_programs()
        return str(self._programs / name)

    def _data_path(self, data: Path) -> str:
        """Return the path that Postgres uses: its user may not have access to the parent folders."""
        return "/proc/self/cwd" if self._runs_as else str(data)

    def _create_cluster(self) -> None:
        """Run initdb in a scratch folder, so that an interrupted run is never used as a database."""
        scratch = self.folder / "data.new"
        shutil.rmtree(scratch, ignore_errors=True)
        write_secret(self.password_file, secrets.token_urlsafe(24))
        os.chown(self.password_file, self.folder.stat().st_uid, -1)
        options = ["--username", self.user, "--pwfile", "/dev/stdin", "--auth", "scram-sha-256", "--encoding", "UTF8"]
        # Postgres' built-in C.UTF-8 sorts the same on every system, whatever its locales.
        options += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", *_ctype_options()]
        options += ["--no-sync"] if self.throwaway else []
        with self._readable_password() as password:
            self.run("initdb", *options, data=scratch, stdin=password)
        scratch.rename(self.data)

    @contextlib.contextmanager
    def _readable_password(self) -> Iterator[int]:
        """Yield a pipe with the password: the user that Postgres runs as cannot read the file."""
        reader, writer = os.pipe()
        try:
            if self._runs_as:
                self._runs_as.take_ownership(reader)
            os.write(writer, self.password_file.read_bytes())
            os.close(writer)
            yield reader
        finally:
            os.close(reader)


class Store:
    """S3 for a folder: signatures, presigned URLs, multipart uploads; no checksums (S3_CHECKSUMS=off)."""

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
        # A key's prefix before the slash is a folder in the bucket's folder. rclone removes it with its last object,
        # and then fails every multipart upload in progress there: so it is never empty.
        for prefix in ("f", "p"):
            (self.folder / self.bucket / prefix / ".kept").mkdir(parents=True, exist_ok=True)
        if not self.key_file.exists():
            write_secret(self.key_file, f"{secrets.token_hex(10)},{secrets.token_urlsafe(30)}")
        if after_crash:
            # parts of uploads that the crash interrupted
            for leftover in self.folder.rglob(".rclone_temp_*"):
                leftover.unlink(missing_ok=True)

    def start(self, port: int) -> None:
        options = {
            "addr": f"127.0.0.1:{port}",
            "allow-origin": "*",  # its users have different PORTs; access depends on the signature
            "config": "/dev/null",
            "cache-dir": str(self.hashes),
            "max-header-bytes": "65536",  # a signed URL carries a file's whole name, encoded twice
            # An upload can be resumed days later; the app itself aborts abandoned ones.
            "multipart-expiry": "0",
            "multipart-max-uploads": "0",
            # Parts that arrive out of order wait in memory: 4 of 16 MiB for each file.
            "multipart-streaming-buffer-limit": "512Mi",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        # An ETag is the MD5 of the whole object. The hasher computes and stores it while the bytes arrive; otherwise
        # rclone would read a large object again before its first response about it.
        quoted = str(self.folder).replace("'", "''")
        remote = f":hasher,remote='{quoted}',hashes=md5,max_age=off:"
        command = [_rclone(), "serve", "s3", *flags, remote]
        # in the environment: every user of the machine can read a command line
        env = {**os.environ, "RCLONE_AUTH_KEY": f'"{self.key_file.read_text()}"'}
        self.daemon.start(command, env=env)

    def responds(self, port: int) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"http://127.0.0.1:{port}/", timeout=2).close()
        except urllib.error.HTTPError as error:
            return error.code < 500  # it denies requests without a signature, so it is running
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
            # the person's own AWS files must not apply here
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "S3_CHECKSUMS": "off",
        }


def _ctype_options() -> list[str]:
    """Return initdb's options for a locale that knows the letters of all scripts, if the system has one.

    pg_trgm uses it: in a database that knows ASCII letters only, no index helps to search for names in Cyrillic or
    Arabic.
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
