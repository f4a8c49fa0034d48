"""compose.yaml: no unneeded port is open, no password is fixed, and the app accepts its settings."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / ".venv-deploy" / "bin"
PROGRAMS = PROJECT / "deploy" / "image"
FILES = ("compose.yaml", "deploy/compose/tls.yaml")
APP = ("release", "bucket", "web", "worker", "sweep")
STORE = ("store", "account")
OWN = {"AMALGA_HOST": "files.example.org"}
VARIABLE = re.compile(r"\$\{(\w+):[-?]([^}]*)\}")


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROJECT / name).read_text())
    return document


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    definitions: dict[str, dict[str, Any]] = read("compose.yaml")["services"]
    return definitions


def run_program(program: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAMS / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=PROJECT, timeout=60)


# --- the files --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_compose_accepts_the_file(name: str) -> None:
    command = [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(PROJECT / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_compose_file_requires_no_variables() -> None:
    text = (PROJECT / "compose.yaml").read_text()
    assert not re.search(r"(?<!\$)\$\{(?!\w+:-)", text)
    assert "env_file" not in text


def test_compose_files_contain_no_passwords() -> None:
    for name in FILES:
        for line in (PROJECT / name).read_text().splitlines():
            match = re.search(r"(PASSWORD|SECRET|_KEY)\w*: *(.+)", line)
            assert not match or match[2].startswith("/secrets/"), line


def test_only_the_front_has_a_port_and_only_on_this_host(services: dict[str, dict[str, Any]]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"front": ["127.0.0.1:8000:8000"]}


def test_the_database_is_on_no_network(services: dict[str, dict[str, Any]]) -> None:
    database = services["database"]
    assert (database["network_mode"], database["command"][-1]) == ("none", "listen_addresses=")
    assert "--auth=scram-sha-256" in database["environment"]["POSTGRES_INITDB_ARGS"]


@pytest.mark.parametrize("name", [*APP, "secrets"])
def test_our_services_run_without_privileges(name: str, services: dict[str, dict[str, Any]]) -> None:
    service = services[name]
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert service["user"] == ("0:10001" if name == "secrets" else "10001:10001")
    assert service["tmpfs"] == ["/tmp:mode=1777,size=1g"]  # noqa: S108 - a folder of the container


def test_each_service_has_only_its_own_secrets(services: dict[str, dict[str, Any]]) -> None:
    known = {
        name: {volume.partition(":")[0] for volume in service.get("volumes", []) if volume.startswith("secrets-")}
        for name, service in services.items()
        if name != "secrets"
    }
    assert known == {name: {"secrets-app"} for name in APP} | {name: {"secrets-store"} for name in STORE} | {
        "release": {"secrets-owner"}, "database": {"secrets-database"}, "front": set(), "proxy": set(),
        "scanner": set(),
    }  # fmt: skip


def test_application_signs_in_as_neither_superuser_nor_owner(services: dict[str, dict[str, Any]]) -> None:
    assert services["database"]["environment"]["POSTGRES_USER"] == "postgres"
    users = {name: services[name]["environment"]["DATABASE_USER"] for name in APP}
    assert users == dict.fromkeys(APP, "amalga") | {"release": "amalga_owner"}
    roles = (PROJECT / "deploy/compose/roles.sql").read_text()
    assert re.findall(r"CREATE ROLE (\w+) LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE", roles) == [
        "amalga_owner",
        "amalga",
    ]


def test_application_has_no_root_keys(tmp_path: Path) -> None:
    run_program("make_secrets.py", str(tmp_path))
    secrets = contents(tmp_path)
    root = {secrets["store/ROOT_ACCESS_KEY"], secrets["store/ROOT_SECRET_KEY"], secrets["database/POSTGRES_PASSWORD"]}
    assert not {name for name, value in secrets.items() if value in root and name.startswith(("app/", "owner/"))}
    assert secrets["app/AWS_ACCESS_KEY_ID"] == secrets["store/APP_ACCESS_KEY"]


def test_compose_runs_the_commands_of_the_procfile(services: dict[str, dict[str, Any]]) -> None:
    lines = dict(line.split(": ", 1) for line in (PROJECT / "Procfile").read_text().splitlines())
    commands = {name: " ".join(services[name]["command"]) for name in lines}
    in_a_shell = f"sh -ec {lines['release']} && python manage.py database_login amalga"
    assert commands == lines | {"web": f"python -m {lines['web']}", "release": in_a_shell}


def test_dependencies_and_volumes_exist(services: dict[str, dict[str, Any]]) -> None:
    volumes = set(read("compose.yaml")["volumes"])
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if not volume.startswith("./")}
        assert named <= volumes, name


def test_scanner_requires_its_profile_and_has_no_privileges(services: dict[str, dict[str, Any]]) -> None:
    scanner = services["scanner"]
    assert scanner["profiles"] == ["malware"]
    assert "ports" not in scanner
    assert (scanner["user"], scanner["read_only"], scanner["cap_drop"]) == ("clamav:clamav", True, ["ALL"])
    assert not any("scanner" in service.get("depends_on", {}) for service in services.values())


def test_scanner_reports_files_over_its_limit() -> None:
    lines = (PROJECT / "deploy/compose/clamd.conf").read_text().splitlines()
    options = dict(line.split() for line in lines if line and not line.startswith("#"))
    assert options["AlertExceedsMax"] == "yes"
    assert options["StreamMaxLength"] == options["MaxFileSize"] == options["MaxScanSize"]


def test_every_image_has_a_version_and_a_digest(services: dict[str, dict[str, Any]]) -> None:
    images = {service["image"] for service in services.values()} - {"${AMALGA_IMAGE:-amalga}"}
    expected = {"postgres", "versity/versitygw", "caddy", "nginx", "clamav/clamav"}
    assert {image.partition(":")[0] for image in images} == expected
    assert all(re.fullmatch(r"[a-z/]+:v?\d[^@]+@sha256:[0-9a-f]{64}", image) for image in images)


@pytest.mark.parametrize(
    ("service", "in_timeouts"), [("web", "web process"), ("worker", "worker"), ("sweep", "worker")]
)
def test_processes_get_time_to_stop(service: str, in_timeouts: str, services: dict[str, dict[str, Any]]) -> None:
    table = (PROJECT / "docs" / "operate" / "timeouts.md").read_text()
    row = re.search(rf"\| platform: kill of the {in_timeouts} \| (\d+) s", table)
    assert row
    assert services[service]["stop_grace_period"] == f"{row[1]}s"


# --- settings of the app ----------------------------------------------------------------------


def environment(*files: str, **chosen: str) -> dict[str, str]:
    """Return the environment of `web`, with variables replaced as Compose does."""
    values: dict[str, str] = {}
    for name in files:
        values |= read(name)["services"]["web"]["environment"]
    return {name: VARIABLE.sub(lambda match: chosen.get(match[1]) or match[2], text) for name, text in values.items()}


@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_app_accepts_its_environment(files: tuple[str, ...], tmp_path: Path) -> None:
    assert run_program("make_secrets.py", str(tmp_path)).returncode == 0
    env = environment(*files, **(OWN if len(files) > 1 else {}))
    words = [str(tmp_path / "app"), sys.executable, "-W", "error", "manage.py", "check"]
    done = run_program("with_secrets.py", *words, **env)
    assert (done.returncode, done.stderr) == (0, "")


def test_tls_needs_only_one_host_name() -> None:
    text = (PROJECT / "deploy/compose/tls.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?\}", text)) == set(OWN)
    front = read("deploy/compose/tls.yaml")["services"]["front"]
    store = VARIABLE.sub(lambda match: OWN.get(match[1]) or match[2], front["environment"]["STORE_ADDRESS"])
    assert store == "files.example.org:8443"
    assert "8443:8443" in {VARIABLE.sub(lambda match: match[2], port) for port in front["ports"]}
    assert front["networks"]["default"]["aliases"] == ["${AMALGA_HOST:?}"]  # where the containers find the storage


def test_published_image_is_used_and_built_only_if_there_is_none(services: dict[str, dict[str, Any]]) -> None:
    for name in (*APP, "secrets"):
        assert (services[name]["image"], services[name]["build"]["context"]) == ("${AMALGA_IMAGE:-amalga}", "."), name
        assert "pull_policy" not in services[name]  # compose pulls first, and builds what it cannot pull


def test_converters_are_built_on_request(services: dict[str, dict[str, Any]]) -> None:
    values = {services[name]["build"]["args"]["CONVERTERS"] for name in (*APP, "secrets")}
    assert values == {"${AMALGA_CONVERTERS:-no}"}
    assert "ARG CONVERTERS=no\n" in (PROJECT / "Dockerfile").read_text()


def test_tls_setup_passes_the_deployment_checks(tmp_path: Path) -> None:
    run_program("make_secrets.py", str(tmp_path))
    env = environment(*FILES, **OWN)
    assert (env["ALLOWED_HOSTS"], env["AWS_ENDPOINT_URL_S3"]) == ("files.example.org", "https://files.example.org:8443")
    words = [str(tmp_path / "app"), sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = run_program("with_secrets.py", *words, **env)
    assert done.returncode == 0, done.stderr


# --- secrets ----------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_secrets_are_created_once_with_restricted_permissions(tmp_path: Path) -> None:
    run_program("make_secrets.py", str(tmp_path))
    secrets = contents(tmp_path)
    assert len(secrets) == 15
    assert secrets["app/DATABASE_PASSWORD"] == secrets["database/APP_PASSWORD"]
    assert secrets["owner/DATABASE_PASSWORD"] == secrets["database/OWNER_PASSWORD"] != secrets["database/APP_PASSWORD"]
    assert all(len(value) >= 20 for value in secrets.values())
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in secrets} == {0o440}
    assert "All secrets exist" in run_program("make_secrets.py", str(tmp_path)).stdout
    assert contents(tmp_path) == secrets


def test_secret_key_restored_as_documented_is_kept(tmp_path: Path) -> None:
    """Two-factor authentication in a restored database does not work with another key."""
    page = (PROJECT / "deploy" / "server.md").read_text()
    assert "web cat /secrets/SECRET_KEY > secret-key" in page
    line = re.search(r"secrets -c \\\n  '(umask.*)' < secret-key", page)
    assert line
    run_program("make_secrets.py", str(tmp_path))
    put = ["sh", "-c", line[1].replace("/secrets/", f"{tmp_path}/")]
    subprocess.run(put, input="the one before", text=True, check=True, timeout=60)
    run_program("make_secrets.py", str(tmp_path))
    key = tmp_path / "app" / "SECRET_KEY"
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == ("the one before", 0o440)
    assert (tmp_path / "owner" / "SECRET_KEY").read_text() == "the one before"


def test_two_hosts_have_no_secret_in_common(tmp_path: Path) -> None:
    for host in ("one", "other"):
        run_program("make_secrets.py", str(tmp_path / host))
    first, other = (set(contents(tmp_path / host).values()) for host in ("one", "other"))
    assert not first & other


def test_deleted_secret_file_is_written_again(tmp_path: Path) -> None:
    run_program("make_secrets.py", str(tmp_path))
    secrets = contents(tmp_path)
    (tmp_path / "app" / "DATABASE_PASSWORD").unlink()
    done = run_program("make_secrets.py", str(tmp_path))
    assert contents(tmp_path) == secrets
    assert secrets["app/DATABASE_PASSWORD"] not in done.stdout


def test_command_gets_secrets_and_existing_variables_are_kept(tmp_path: Path) -> None:
    (tmp_path / "SECRET_KEY").write_text("from the file\n")
    (tmp_path / "HTTPS").write_text("off")
    (tmp_path / "SECRET_KEY.new").write_text("half")
    code = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith(('SECRET', 'HTTPS'))))"
    done = run_program("with_secrets.py", str(tmp_path), sys.executable, "-c", code, HTTPS="on")
    assert done.stdout.strip() == "[('HTTPS', 'on'), ('SECRET_KEY', 'from the file')]"


@pytest.mark.parametrize("command", [["no-such-command"], []])
def test_unknown_command_is_reported_in_one_line(command: list[str], tmp_path: Path) -> None:
    done = run_program("with_secrets.py", str(tmp_path), *command)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
