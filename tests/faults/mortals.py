"""Processes that die where they are told to, and how tests reach them."""

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
from tests.faults.acts import DIED, Ask, Command, Told, packed, told_from
from tests.support.plain_form import Visitor

SECONDS = 60


class Door(Protocol):
    """A way to have something done."""

    def do(self, act: Ask | Command) -> Told | None:
        """What was told; None when whoever did it died."""


def environment(**more: str) -> dict[str, str]:
    """That of this run, over the test database."""
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    return {**os.environ, "DATABASE_URL": database, **more}


class Player:
    """The process of player.py."""

    def __init__(self, log: Path, variables: Mapping[str, str], **settings: Any) -> None:
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.player", json.dumps(settings)],
                cwd=PROJECT, env=environment(**variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True,
            )  # fmt: skip
        self.log = log

    def play(self, act: Ask | Command, cookies: Mapping[str, str], point: str) -> Told | None:
        assert self.process.stdin
        assert self.process.stdout
        wish = {"act": packed(act), "cookies": dict(cookies), "point": point}
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text()[-2000:]
        found = json.loads(line)
        return None if found.get("died") else told_from(found)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def cookies_of(user: User) -> dict[str, str]:
    """Those of somebody who has signed in."""
    return Visitor("http://localhost:1", user).cookies


class Child:
    """One who plays in children of the player, each of which may die at the point."""

    def __init__(self, player: Player, user: User, point: str = "") -> None:
        self.player = player
        self.cookies = cookies_of(user)
        self.point = point

    def do(self, act: Ask | Command) -> Told | None:
        return self.player.play(act, self.cookies, self.point)


class Processes:
    """gunicorn and manage.py as they run in production, with these variables; gunicorn is started by the first who
    asks it. To be used with `with`."""

    def __init__(self, folder: Path, user: User, **variables: str) -> None:
        self.folder = folder
        self.user = user
        self.variables = variables
        self.running = ExitStack()
        self.visitor: Visitor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.close()

    def do(self, act: Ask | Command) -> Told | None:
        return self._command(act) if isinstance(act, Command) else self._ask(act)

    def _ask(self, act: Ask) -> Told | None:
        if self.visitor is None:
            url = self.running.enter_context(serving(self.folder, self.variables))
            self.visitor = Visitor(url, self.user).open_form()
        headers = {"X-CSRFToken": self.visitor.token, "Content-Type": act.content_type}
        try:
            answer, page = self.visitor.ask(act.method, act.path, act.body or None, headers=headers, seconds=SECONDS)
        except (OSError, HTTPException):
            return None
        return Told(answer.status, page, dict(answer.headers))

    def _command(self, act: Command) -> Told | None:
        done = subprocess.run(
            [sys.executable, "manage.py", *act.words], cwd=PROJECT, env=environment(**self.variables),
            capture_output=True, timeout=SECONDS,
        )  # fmt: skip
        return None if done.returncode == DIED else Told(done.returncode, done.stdout)
