"""`python -m amalga.local` started by root, as in a container: its user, privileges and folders."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amalga.local import postgres
from amalga.local.postgres import COPIES, PROGRAMS, UnprivilegedUser, programs_for
from amalga.local.processes import StartupError
from tests.support.local_installation import CONNECT, WHO, LocalInstallation, make_clone

pytestmark = pytest.mark.slow

UNPRIVILEGED_USER = UnprivilegedUser()
# It keeps dac_read_search: the Python of a developer can be in a folder that only root may enter.
AS_UNPRIVILEGED_USER = (
    "setpriv", f"--reuid={UNPRIVILEGED_USER.uid}", f"--regid={UNPRIVILEGED_USER.gid}", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--",
)  # fmt: skip
SUPERUSER = CONNECT.replace("DATABASE_URL", "LOCAL_SUPERUSER_URL")
SHADOW = "\ntry: db.execute(\"SELECT pg_read_file('/etc/shadow')\")\nexcept psycopg.Error as error: print(error)"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in a folder that only root may enter, with characters that need quoting in shells."""
    folder = tmp_path_factory.mktemp("root") / "Amalga's files, Привет 文件"
    make_clone(folder)
    return folder


@pytest.fixture
def laptop(clone: Path, tmp_path: Path) -> Iterator[LocalInstallation]:
    laptop = LocalInstallation(tmp_path / "local", python=clone / ".venv/bin/python", cwd=clone)
    yield laptop
    laptop.close()
    assert laptop.processes() == []


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that root owns and every user can enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def unreachable_programs(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point to the Postgres programs of the clone, which only root can reach."""
    (folder,) = (clone / ".venv/lib").glob(f"python*/site-packages/{PROGRAMS}")
    monkeypatch.setattr(postgres, "installed_programs", lambda: folder)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- folder that only root may enter ------------------------------------------------------------


def test_servers_start_in_a_root_only_folder_without_changing_its_mode(laptop: LocalInstallation, clone: Path) -> None:
    closed = clone.parents[1]
    assert mode(closed) == 0o700
    assert laptop.python(CONNECT + "print(db.execute('SELECT 1').fetchone()[0])") == "1"
    assert laptop.python(CONNECT + "print(db.execute('SELECT 2').fetchone()[0])", "--ephemeral") == "2"
    assert (mode(closed), mode(laptop.folder), mode(laptop.folder / "postgres")) == (0o700, 0o700, 0o700)


def test_postgres_runs_without_capabilities_and_root_groups(laptop: LocalInstallation) -> None:
    laptop.staying()
    status = Path("/proc", (laptop.folder / "postgres.pid").read_text(), "status").read_text()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[capabilities][0], 16) == 0
    assert set(fields["Uid"]) == {str(UNPRIVILEGED_USER.uid)}
    assert set(fields["Gid"]) == {str(UNPRIVILEGED_USER.gid)}
    assert (fields["Groups"], fields["NoNewPrivs"]) == ([], ["1"])


@pytest.mark.parametrize(
    ("role", "refusal"),
    [(CONNECT, "permission denied for function pg_read_file"), (SUPERUSER, "Permission denied")],
)
def test_database_roles_cannot_read_files_of_root(laptop: LocalInstallation, role: str, refusal: str) -> None:
    assert refusal in laptop.python(role + SHADOW, "--ephemeral")


def test_copy_from_program_cannot_write_outside_the_data_folder(laptop: LocalInstallation) -> None:
    plant = "CREATE TEMP TABLE said (line text); COPY said FROM PROGRAM 'touch ../planted 2>&1; true'"
    output = laptop.python(
        f'{SUPERUSER}db.execute("{plant}"); print(db.execute("TABLE said").fetchall())', "--ephemeral"
    )
    assert "Permission denied" in output


def test_data_folder_owned_by_root_is_reported_with_the_fix(laptop: LocalInstallation) -> None:
    laptop.python("pass")
    data = laptop.folder / "postgres/data"
    os.chown(data, 0, 0)
    result = laptop.run("true")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert f"chown -R nobody '{data}'" in result.stderr


def test_missing_setuid_capability_is_reported_in_one_line(laptop: LocalInstallation) -> None:
    laptop.before = ("setpriv", "--bounding-set=-setuid,-setgid", "--")
    result = laptop.run("true")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "Start it as another user." in result.stderr


def test_servers_start_without_the_setpcap_capability(laptop: LocalInstallation) -> None:
    laptop.before = ("setpriv", "--bounding-set=-setpcap", "--")
    assert laptop.python(CONNECT + "print(db.execute('SELECT 1').fetchone()[0])") == "1"


def test_user_with_read_only_home_gets_both_servers(clone: Path, place: Path) -> None:
    own = place / "own"
    shutil.copytree(clone, own, symlinks=True)
    subprocess.run(["chown", "-R", f"{UNPRIVILEGED_USER.uid}:{UNPRIVILEGED_USER.gid}", own], check=True)
    laptop = LocalInstallation(
        own / ".local", python=own / ".venv/bin/python", home=place, cwd=own, before=AS_UNPRIVILEGED_USER
    )
    try:
        for options in ((), ("--ephemeral",)):
            result = laptop.run(*options, "sh", "-c", 'exec "$0" -c "$1"', laptop.interpreter, WHO)
            assert result.returncode == 0, result.stderr
    finally:
        laptop.close()
    assert laptop.processes() == []


# --- copy of the programs -----------------------------------------------------------------------


def test_programs_are_copied_once(unreachable_programs: Path, place: Path) -> None:
    first = programs_for(UNPRIVILEGED_USER, (place,))
    before = (first / "postgres").stat().st_ino
    assert programs_for(UNPRIVILEGED_USER, (place,)) == first
    assert (first / "postgres").stat().st_ino == before
    assert UNPRIVILEGED_USER.can_run(first / "initdb", "--version")


def test_copy_is_not_writable_by_other_users(unreachable_programs: Path, place: Path) -> None:
    before = os.umask(0)
    try:
        programs_for(UNPRIVILEGED_USER, (place,))
    finally:
        os.umask(before)
    for path in (place / COPIES).rglob("*"):
        assert path.stat().st_uid == 0
        assert not mode(path) & postgres.WRITABLE_BY_OTHERS, path


def test_copy_is_executable_despite_a_strict_umask(unreachable_programs: Path, place: Path) -> None:
    before = os.umask(0o077)
    try:
        assert programs_for(UNPRIVILEGED_USER, (place,)).is_relative_to(place)
    finally:
        os.umask(before)


@pytest.mark.parametrize("planted", ["by another user", "a link", "writable by others"])
def test_copies_folder_that_others_could_fill_is_skipped(unreachable_programs: Path, place: Path, planted: str) -> None:
    bad, good = place / "bad", place / "good"
    good.mkdir()
    (bad / COPIES).mkdir(parents=True)
    if planted == "by another user":
        UNPRIVILEGED_USER.take_ownership(bad / COPIES)
    elif planted == "a link":
        (bad / COPIES).rename(bad / "elsewhere")
        (bad / COPIES).symlink_to(bad / "elsewhere")
    else:
        (bad / COPIES).chmod(0o777)
    assert programs_for(UNPRIVILEGED_USER, (bad, good)).is_relative_to(good)
    assert list((bad / COPIES).iterdir()) == []


@pytest.mark.parametrize("rights", [0o777, 0o1777])
def test_parent_folder_that_others_can_write_to_is_skipped(
    unreachable_programs: Path, place: Path, rights: int
) -> None:
    shared, good = place / "shared", place / "good"
    good.mkdir()
    shared.mkdir()
    shared.chmod(rights)
    assert programs_for(UNPRIVILEGED_USER, (shared, good)).is_relative_to(good)


def test_folder_where_programs_cannot_run_is_skipped(
    unreachable_programs: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, a folder mounted with noexec."""
    noexec, good = place / "noexec", place / "good"
    noexec.mkdir()
    good.mkdir()
    can_run = UnprivilegedUser.can_run

    def can_run_in_good(self: UnprivilegedUser, program: Path, *options: str) -> bool:
        return program.is_relative_to(good) and can_run(self, program, *options)

    monkeypatch.setattr(UnprivilegedUser, "can_run", can_run_in_good)
    assert programs_for(UNPRIVILEGED_USER, (noexec, good)).is_relative_to(good)


def test_error_without_a_usable_folder_says_what_to_do(unreachable_programs: Path, place: Path) -> None:
    with pytest.raises(StartupError, match="Start it as another user"):
        programs_for(UNPRIVILEGED_USER, (place / "missing",))


def test_leftover_of_an_interrupted_copy_is_deleted(unreachable_programs: Path, place: Path) -> None:
    leftover = place / COPIES / "new-killed"
    leftover.mkdir(parents=True)
    programs_for(UNPRIVILEGED_USER, (place,))
    assert [path.name for path in (place / COPIES).glob("new-*")] == []


def test_concurrent_copies_result_in_one_complete_copy(unreachable_programs: Path, place: Path) -> None:
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: programs_for(UNPRIVILEGED_USER, (place,)), range(2))
    assert first == second
    assert UNPRIVILEGED_USER.can_run(first / "initdb", "--version")
