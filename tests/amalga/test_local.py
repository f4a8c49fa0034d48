"""`python -m amalga.local`: its servers, its exit codes, and its cleanup."""

from __future__ import annotations

import signal
import socket
import stat
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from django.core import management

from amalga.local import bootstrap, postgres
from amalga.local.processes import StartupError
from tests.support import waiting
from tests.support.local_installation import CONNECT, PORTS, SECONDS, WHO, LocalInstallation

pytestmark = pytest.mark.slow


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[LocalInstallation]:
    laptop = LocalInstallation(tmp_path / "local")
    yield laptop
    laptop.close()
    assert laptop.processes() == []


wait_until = partial(waiting.wait_until, seconds=SECONDS)


def test_command_gets_working_storage_and_database_variables(laptop: LocalInstallation) -> None:
    store = (
        "import os, boto3; s3 = boto3.client('s3'); bucket = os.environ['AWS_STORAGE_BUCKET_NAME'];"
        "s3.put_object(Bucket=bucket, Key='f/1', Body=b'hello');"
        "print(s3.get_object(Bucket=bucket, Key='f/1')['Body'].read())"
    )
    assert laptop.python(store) == "b'hello'"
    assert laptop.python(CONNECT + "print(db.execute('SELECT 1').fetchone()[0])") == "1"


def test_data_persists_until_the_next_run(laptop: LocalInstallation) -> None:
    laptop.python(CONNECT + "db.execute('CREATE TABLE kept AS SELECT 42 AS answer')")
    assert laptop.python(CONNECT + "print(db.execute('TABLE kept').fetchone()[0])") == "42"


@pytest.mark.timeout(300)
def test_first_and_second_start_serve_the_site_with_the_same_administrator(laptop: LocalInstallation) -> None:
    """What `make run` does: migrations, static files, the first administrator, gunicorn and a worker."""
    ready = f"http://127.0.0.1:{laptop.ports['PORT']}/readyz"
    for _start in range(2):
        server = laptop.start("--serve")
        wait_until(lambda: is_ready(ready), seconds=120)
        password = (laptop.folder / "admin-password").read_text().strip()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=SECONDS)
        assert laptop.processes() == []
    who = "import django; django.setup(); from django.contrib.auth import authenticate; "
    code = f"import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'amalga.settings'; {who}"
    code += f"print(authenticate(None, username='admin', password={password!r}))"
    assert laptop.python(code) == "admin"


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_ephemeral_run_leaves_no_processes_or_files(laptop: LocalInstallation) -> None:
    laptop.python(CONNECT, "--ephemeral")
    assert laptop.processes() == []
    assert list((laptop.folder / "throwaway").iterdir()) == []


def test_ephemeral_run_cleans_up_after_a_killed_run(laptop: LocalInstallation) -> None:
    killed = laptop.staying("--ephemeral")
    killed.kill()
    killed.wait()
    laptop.python(CONNECT, "--ephemeral")
    assert laptop.processes() == []
    assert list((laptop.folder / "throwaway").iterdir()) == []


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("exit 0", 0), ("kill -TERM $$", 128 + signal.SIGTERM)])
def test_exit_code_of_the_command_is_returned(laptop: LocalInstallation, command: str, code: int) -> None:
    assert laptop.run("sh", "-c", command).returncode == code


def test_unknown_command_is_reported(laptop: LocalInstallation) -> None:
    result = laptop.run("no-such-program")
    assert result.returncode == 127
    assert "no-such-program" in result.stderr


@pytest.mark.parametrize("variable", PORTS)
def test_occupied_port_is_reported_in_one_line(laptop: LocalInstallation, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        laptop.ports[variable] = stranger.getsockname()[1]
        result = laptop.run("--serve") if variable == "PORT" else laptop.run("true")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"Port {laptop.ports[variable]} is in use" in result.stderr
    assert f"{variable}=" in result.stderr
    assert laptop.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_command_and_the_servers(laptop: LocalInstallation, number: signal.Signals) -> None:
    process = laptop.staying()
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number
    assert laptop.processes() == []


def test_run_after_a_kill_finds_its_data(laptop: LocalInstallation) -> None:
    laptop.python(CONNECT + "db.execute('CREATE TABLE kept AS SELECT 42 AS answer')")
    killed = laptop.staying()
    killed.kill()
    killed.wait()
    assert laptop.python(CONNECT + "print(db.execute('TABLE kept').fetchone()[0])") == "42"


def test_leftover_multipart_files_are_deleted_at_start(laptop: LocalInstallation) -> None:
    killed = laptop.staying()
    leftover = laptop.folder / "s3" / "amalga" / ".rclone_temp_multipart_1"
    leftover.write_bytes(b"half a part")
    killed.kill()
    killed.wait()
    laptop.python("pass")
    assert not leftover.exists()


def test_second_command_uses_the_running_servers(laptop: LocalInstallation) -> None:
    laptop.staying()
    assert laptop.python(WHO) == laptop.python(WHO)


def test_servers_keep_running_while_another_command_uses_them(laptop: LocalInstallation) -> None:
    first, second = laptop.staying(), laptop.staying()
    first.terminate()
    first.wait()
    before = laptop.python(WHO)
    assert second.poll() is None
    assert laptop.python(WHO) == before


@pytest.mark.parametrize("server", ["postgres", "s3"])
def test_killed_server_is_restarted(laptop: LocalInstallation, server: str) -> None:
    laptop.staying()
    pid_file = laptop.folder / f"{server}.pid"
    pid = int(pid_file.read_text())
    psutil.Process(pid).kill()
    wait_until(lambda: pid_file.exists() and pid_file.read_text() not in ("", str(pid)))
    assert laptop.python(CONNECT + "print('here')") == "here"


def test_secret_files_are_readable_only_by_their_owner(laptop: LocalInstallation) -> None:
    laptop.python("pass")
    for name in ("secret-key", "s3-key", "postgres/password"):
        assert stat.S_IMODE((laptop.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(laptop.folder.stat().st_mode) == 0o700


def test_secrets_are_not_on_command_lines(laptop: LocalInstallation) -> None:
    laptop.staying()
    shown = " ".join(laptop.processes())
    for name in ("secret-key", "postgres/password"):
        assert (laptop.folder / name).read_text() not in shown
    assert (laptop.folder / "s3-key").read_text().split(",")[1] not in shown


def test_superuser_login_over_network_is_refused(laptop: LocalInstallation) -> None:
    attempt = "os.environ['DATABASE_URL'].replace('//amalga:', '//postgres:')"
    result = laptop.run(laptop.interpreter, "-c", f"import os, psycopg; psycopg.connect({attempt})")
    assert "password authentication failed" in result.stderr


def test_application_role_has_no_administrative_rights(laptop: LocalInstallation) -> None:
    rights = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    query = f"SELECT {rights} FROM pg_roles WHERE rolname = current_user"
    assert laptop.python(f"{CONNECT}print(set(db.execute('{query}').fetchone()))") == "{False}"


@pytest.mark.django_db
def test_second_start_prepares_again_only_after_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "PROJECT", tmp_path)
    for name in ("postgres", "staticfiles"):
        (tmp_path / name).mkdir()
    # the test database has its tables, and all tests share the static files
    monkeypatch.setattr(management, "call_command", lambda *_args, **_options: None)
    bootstrap.prepare(tmp_path, own_bucket=False)
    assert bootstrap.is_prepared(tmp_path, own_bucket=False)
    assert not bootstrap.is_prepared(tmp_path, own_bucket=True)  # its bucket has no marker
    (tmp_path / "requirements.txt").write_text("Django==6.0\n")
    assert not bootstrap.is_prepared(tmp_path, own_bucket=False)


def test_path_with_shell_characters_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "installed_programs", lambda: Path("/home/$ale/bin"))
    with pytest.raises(StartupError, match="Clone into another folder"):
        postgres.own_programs()
