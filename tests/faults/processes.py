"""Processes that crash at a failpoint, and how tests reach them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

from django.contrib.auth.models import User
from django.db import connection

from tests.conftest import PROJECT, serving
from tests.faults.actions import DIED, CommandAction, HttpAction, Result, result_from, to_json
from tests.support.form_client import Visitor

SECONDS = 60


class Runner(Protocol):
    """A way to run actions."""

    def do(self, action: HttpAction | CommandAction) -> Result | None:
        """Return the result, or None if the process crashed."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of this run, with the test database."""
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    return {**os.environ, "DATABASE_URL": database, **more}


class ForkServer:
    """The process of fork_server.py."""

    def __init__(self, log: Path, variables: Mapping[str, str], **settings: Any) -> None:
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.fork_server", json.dumps(settings)],
                cwd=PROJECT, env=environment(**variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True,
            )  # fmt: skip
        self.log = log

    def run(self, action: HttpAction | CommandAction, cookies: Mapping[str, str], point: str) -> Result | None:
        assert self.process.stdin
        assert self.process.stdout
        request = {"act": to_json(action), "cookies": dict(cookies), "point": point}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text()[-2000:]
        data = json.loads(line)
        return None if data.get("died") else result_from(data)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def session_cookies(user: User) -> dict[str, str]:
    """Return the cookies of a signed-in user."""
    return Visitor("http://localhost:1", user).cookies


class ForkedRunner:
    """Runs actions in children of the fork server, each of which may crash at the failpoint."""

    def __init__(self, server: ForkServer, user: User, point: str = "") -> None:
        self.server = server
        self.cookies = session_cookies(user)
        self.point = point

    def do(self, action: HttpAction | CommandAction) -> Result | None:
        return self.server.run(action, self.cookies, self.point)


class RealProcesses:
    """gunicorn and manage.py as in production, with these variables; a context manager. gunicorn starts with the
    first request."""

    def __init__(self, folder: Path, user: User, **variables: str) -> None:
        self.folder = folder
        self.user = user
        self.variables = variables
        self.running = ExitStack()
        self.visitor: Visitor | None = None

    def __enter__(self) -> RealProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.close()

    def do(self, action: HttpAction | CommandAction) -> Result | None:
        return self._command(action) if isinstance(action, CommandAction) else self._send(action)

    def _send(self, action: HttpAction) -> Result | None:
        if self.visitor is None:
            url = self.running.enter_context(serving(self.folder, self.variables))
            self.visitor = Visitor(url, self.user).open_form()
        headers = {"X-CSRFToken": self.visitor.token, "Content-Type": action.content_type}
        try:
            response, page = self.visitor.request(
                action.method, action.path, action.body or None, headers=headers, seconds=SECONDS
            )
        except (OSError, HTTPException):
            return None
        return Result(response.status, page, dict(response.headers))

    def _command(self, action: CommandAction) -> Result | None:
        done = subprocess.run(
            [sys.executable, "manage.py", *action.words], cwd=PROJECT, env=environment(**self.variables),
            capture_output=True, timeout=SECONDS,
        )  # fmt: skip
        return None if done.returncode == DIED else Result(done.returncode, done.stdout)
