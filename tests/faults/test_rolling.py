"""Rolling restarts during uploads through the protocol and through the form."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from django.contrib.auth.models import User

from tests.conftest import PROJECT
from tests.faults.clients import SlowClient
from tests.faults.harness import expire_leases, settle
from tests.faults.processes import environment
from tests.support.stores import Bucket
from uploads.models import File, State

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

PART = 5 * 1024**2
BOOT_SECONDS = 30
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "amalga" / "gunicorn_conf.py")]


@dataclass(frozen=True)
class Plan:
    uploads: int
    restarts: int
    every_seconds: float
    slowest_seconds: float  # of one upload
    graceful_seconds: int
    hurried: bool = False  # does not wait for leases


class Deployment:
    """One address for a sequence of releases: as behind a load balancer, the next one serves requests before
    the previous one gets SIGTERM."""

    def __init__(self, folder: Path, *, graceful_seconds: int) -> None:
        self.folder = folder
        self.graceful_seconds = graceful_seconds
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://localhost:{self.listener.getsockname()[1]}"
        self.releases: list[subprocess.Popen[bytes]] = []

    def release(self) -> None:
        number = len(self.releases)
        log = self.folder / f"release-{number}.log"
        fd = self.listener.fileno()
        options = ["--bind", f"fd://{fd}", "--graceful-timeout", str(self.graceful_seconds)]
        with log.open("wb") as out:
            release = subprocess.Popen(
                [*GUNICORN, *options, "amalga.wsgi"], env=environment(UPLOAD_PART_BYTES=str(PART)), cwd=PROJECT,
                stdout=out, stderr=out, pass_fds=[fd], start_new_session=True,
            )  # fmt: skip
        self.releases.append(release)
        end = time.monotonic() + BOOT_SECONDS
        while log.read_text().count("Booting worker") < 2:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        if number:
            time.sleep(0.5)  # the workers load the app
            self.releases[number - 1].send_signal(signal.SIGTERM)

    def close(self) -> None:
        for release in self.releases:
            if release.poll() is None:
                os.killpg(release.pid, signal.SIGKILL)
            release.wait()
        self.listener.close()


@contextmanager
def deployed(folder: Path, plan: Plan) -> Iterator[Deployment]:
    deployment = Deployment(folder, graceful_seconds=plan.graceful_seconds)
    try:
        deployment.release()
        yield deployment
    finally:
        deployment.close()


def body_of(number: int) -> bytes:
    """Return a body of two parts, different for each upload."""
    return b"%8d" % number * ((PART + 64 * 1024 * (number % 5)) // 8) + b"the end"


PLANS = [
    pytest.param(Plan(10, 2, 0.5, 5.0, graceful_seconds=1, hurried=True), id="short"),
    pytest.param(Plan(50, 4, 20.0, 60.0, graceful_seconds=25), id="long",
                 marks=[pytest.mark.faults, pytest.mark.timeout(400)]),
]  # fmt: skip


@pytest.mark.parametrize("plan", PLANS)
def test_rolling_restarts_lose_no_acknowledged_files(
    plan: Plan, alice: User, bucket: Bucket, neighbour: None, tmp_path: Path
) -> None:
    acknowledged: dict[UUID, bytes] = {}
    with deployed(tmp_path, plan) as deployment, ThreadPoolExecutor(plan.uploads) as executor:
        people = [
            SlowClient(deployment.url, alice, seconds=plan.slowest_seconds * (number + 1) / plan.uploads)
            for number in range(plan.uploads)
        ]
        people[-1].before_end = deployment.releases[0].wait  # so that its form is cut off
        sent: list[Future[UUID | None]] = [
            executor.submit(person.post if number % 2 else person.send, f"{number}.bin", body_of(number))
            for number, person in enumerate(people)
        ]
        for _restart in range(plan.restarts):
            time.sleep(plan.every_seconds)
            deployment.release()
        while plan.hurried and not wait(sent, timeout=1).done.issuperset(sent):
            expire_leases()  # instead of a minute, after a killed completion
        for number, future in enumerate(sent):
            pk = future.result() or File.objects.get(name=f"{number}.bin", state=State.AVAILABLE).pk
            acknowledged[pk] = body_of(number)
    assert len(acknowledged) == plan.uploads
    assert people[-1].again  # it was sent again
    assert File.objects.filter(name__endswith=".bin", state=State.AVAILABLE).count() == plan.uploads
    settle(bucket, acknowledged=acknowledged)
