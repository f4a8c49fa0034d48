"""The Dockerfile, built in an empty folder instruction by instruction; its processes run as another user than its
builder, in a read-only tree.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from amalga.local.processes import Daemon, die_with_parent, free_port
from tests.support import stores
from tests.support.dockerfile import Build, Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults, pytest.mark.timeout(600)]

PROJECT = Path(__file__).resolve().parents[2]
OVERFLOW_UID = 65534
# As root, switch to an unprivileged user that can still read all files: Python may be in a private folder.
STEP_DOWN = (f"--reuid={OVERFLOW_UID}", f"--regid={OVERFLOW_UID}", "--clear-groups", "--no-new-privs",
             "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")  # fmt: skip
START_SECONDS = 30


class Image:
    """The built image and its processes."""

    def __init__(self, stage: Stage, scratch: Path) -> None:
        self.stage = stage
        self.scratch = scratch
        self.step_down = STEP_DOWN if os.geteuid() == 0 else ()
        if self.step_down:
            os.chown(scratch, OVERFLOW_UID, OVERFLOW_UID)

    def words(self, *words: str) -> list[str]:
        """Return a command line that runs in the folder of the image."""
        return ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self.stage.cwd()), *self.stage.command(list(words))]

    def environment(self, **more: str) -> dict[str, str]:
        database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
        place = stores.Address.of_this_run().variables() | {"DATABASE_URL": database, "HTTPS": "off"}
        place |= {"SECRET_KEY": "of-the-image-" * 5, "ALLOWED_HOSTS": "localhost"}
        own = {"HOME": str(self.scratch), "TMPDIR": str(self.scratch)}  # /tmp of a container
        return {**self.stage.environment(), **place, **own, **more}

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [*die_with_parent(signal.SIGTERM, *self.step_down), *self.words(*words)]
        return subprocess.run(command, env=self.environment(**env), capture_output=True, text=True, timeout=60)

    @contextmanager
    def serving(self, log: Path) -> Iterator[int]:
        """Run the CMD of the image and yield its port."""
        port = free_port()
        web = Daemon("image", log, mark="gunicorn", stop_signal=signal.SIGTERM)
        env = self.environment(PORT=str(port))
        web.start(self.words(*self.stage.instructions["CMD"].words()), env=env, step_down=self.step_down)
        try:
            self._wait(port, web)
            yield port
        finally:
            web.stop()

    def _wait(self, port: int, web: Daemon) -> None:
        end = time.monotonic() + START_SECONDS
        while self.healthy(port).returncode != 0:
            assert web.exit_code() is None, web.log_file.read_text()
            assert time.monotonic() < end, web.log_file.read_text()
            time.sleep(0.2)

    def healthy(self, port: int) -> subprocess.CompletedProcess[str]:
        """Run the HEALTHCHECK of the image."""
        words = self.stage.instructions["HEALTHCHECK"].text.partition("CMD ")[2]
        return self.run(*self.stage.instructions["CMD"]._replace(text=words).words(), PORT=str(port))


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, built once, outside of pytest's folder, which other users cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="amalga-image-"))
    try:
        folder.chmod(0o755)
        scratch = folder / "tmp"
        scratch.mkdir()
        stage = Build(PROJECT, folder).run()
        for path in [stage.root, *stage.root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
        yield Image(stage, scratch)
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
        shutil.rmtree(folder)


def tree(image: Image) -> dict[str, float]:
    return {str(path): path.lstat().st_mtime for path in image.stage.root.rglob("*")}


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://localhost:{port}{path}", headers={"Accept-Encoding": "br"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers), b""


def test_image_serves_from_a_read_only_tree(image: Image, bucket: stores.Bucket, tmp_path: Path) -> None:
    before = tree(image)
    with image.serving(tmp_path) as port:
        status, _, page = get(port, "/accounts/login/")
        style = next(word for word in page.decode().split('"') if word.startswith("/static/") and ".css" in word)
        assert status == 200
        headers = get(port, style)[1]
        assert (headers["Content-Encoding"], "immutable" in headers["Cache-Control"]) == ("br", True)
    assert tree(image) == before


def test_image_tree_is_read_only(image: Image) -> None:
    done = image.run("python", "-c", "open('/app/amalga/wsgi.py', 'a')")
    assert (done.returncode, "PermissionError" in done.stderr) == (1, True)


def test_health_check_fails_without_a_server(image: Image) -> None:
    assert image.healthy(free_port()).returncode == 1


@pytest.mark.parametrize("command", ["migrate --check", "sweep", "check", "doctor --help", "verify --sample 1/30"])
def test_image_runs_commands(command: str, image: Image, bucket: stores.Bucket) -> None:
    done = image.run("python", "manage.py", *command.split())
    assert done.returncode == 0, done.stderr


def test_worker_stops_on_sigterm(image: Image, tmp_path: Path) -> None:
    worker = Daemon("worker", tmp_path, mark="manage.py", stop_signal=signal.SIGTERM)
    worker.start(image.words("python", "manage.py", "worker"), env=image.environment(), step_down=image.step_down)
    end = time.monotonic() + START_SECONDS
    while "Starting worker" not in worker.log_file.read_text() and time.monotonic() < end:
        time.sleep(0.2)
    worker.stop()
    assert "shutting down gracefully" in worker.log_file.read_text()


def test_image_has_no_development_tools(image: Image) -> None:
    for module in ("pip", "pytest", "psutil", "amalga.local"):
        done = image.run("python", "-c", f"import {module}")
        assert "ModuleNotFoundError" in done.stderr, module
