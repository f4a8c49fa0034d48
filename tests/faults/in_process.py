"""Actions that run in the process of the tests."""

from __future__ import annotations

import io
from collections.abc import Mapping

from django.core.management import CommandError, call_command
from django.test import Client

from tests.faults.actions import CommandAction, HttpAction, Result


class InProcess:
    """Runs actions by Django's test client and `call_command`."""

    def __init__(self, cookies: Mapping[str, str]) -> None:
        self.client = Client(raise_request_exception=False, SERVER_NAME="localhost")
        for name, value in cookies.items():
            self.client.cookies[name] = value

    def do(self, action: HttpAction | CommandAction) -> Result:
        if isinstance(action, CommandAction):
            return _run(action)
        response = self.client.generic(action.method, action.path, action.body, content_type=action.content_type)
        return Result(response.status_code, response.content, dict(response.headers))


def _run(action: CommandAction) -> Result:
    out = io.StringIO()
    try:
        call_command(*action.words, stdout=out, stderr=out)
    except CommandError as error:
        return Result(error.returncode, f"{out.getvalue()}{error}".encode())
    return Result(0, out.getvalue().encode())
