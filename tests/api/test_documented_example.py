"""The example in the API documentation, run unchanged against a running site."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from tests.conftest import PROJECT
from tests.support.file_rows import path_of
from tests.support.stores import Bucket
from uploads.models import File, State

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLE = PROJECT / "docs" / "api" / "example.py"
PASSWORD = "correct horse battery staple"


def run_example(site: str, password: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "AMALGA_PASSWORD": password}
    command = [sys.executable, str(EXAMPLE), site, "alice", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 17 * 1024**2], ids=["empty", "one part", "two parts"])
@pytest.mark.slow
def test_example_uploads_a_file(site: str, alice: User, bucket: Bucket, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "report.txt").write_bytes(body)
    done = run_example(site, PASSWORD, str(tmp_path / "report.txt"), "Reports/2027")
    assert done.returncode == 0, done.stderr
    file = File.objects.get()
    assert (path_of(file), file.state, file.owner) == ("Reports/2027/report.txt", State.AVAILABLE, alice)
    assert bucket.read(file.key) == body
    assert done.stdout.startswith(f"{site}{file.get_absolute_url()} ")


def test_example_reports_an_incorrect_password(site: str, alice: User, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_bytes(b"hello")
    done = run_example(site, "another password", str(tmp_path / "report.txt"))
    assert (done.returncode, "Incorrect user name or password" in done.stderr) == (1, True)
    assert not File.objects.exists()
