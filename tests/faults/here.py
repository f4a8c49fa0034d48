"""Acts done in this very process."""

from __future__ import annotations

import io
from collections.abc import Mapping

from django.core.management import CommandError, call_command
from django.test import Client

from tests.faults.acts import Ask, Command, Told


class Here:
    """Does what it is asked to by Django's test client and `call_command`."""

    def __init__(self, cookies: Mapping[str, str]) -> None:
        self.client = Client(raise_request_exception=False, SERVER_NAME="localhost")
        for name, value in cookies.items():
            self.client.cookies[name] = value

    def do(self, act: Ask | Command) -> Told:
        if isinstance(act, Command):
            return _run(act)
        answer = self.client.generic(act.method, act.path, act.body, content_type=act.content_type)
        return Told(answer.status_code, answer.content, dict(answer.headers))


def _run(act: Command) -> Told:
    out = io.StringIO()
    try:
        call_command(*act.words, stdout=out, stderr=out)
    except CommandError as error:
        return Told(error.returncode, f"{out.getvalue()}{error}".encode())
    return Told(0, out.getvalue().encode())
