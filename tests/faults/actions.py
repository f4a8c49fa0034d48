"""The actions of a process that can crash while it runs them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

DIED = 137


@dataclass(frozen=True)
class HttpAction:
    """A request."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True)
class CommandAction:
    """A command of manage.py."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """The response to a request, as from Django's test client, or the exit status of a command."""

    status_code: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.content)

    def __getitem__(self, name: str) -> str:
        return self.headers[name]


def to_json(value: HttpAction | CommandAction | Result) -> dict[str, Any]:
    """Convert to JSON types, with bytes as base64."""
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(value).items()
    }


def result_from(data: Mapping[str, Any]) -> Result:
    return Result(data["status_code"], base64.b64decode(data["content"]), data["headers"])


def action_from(data: Mapping[str, Any]) -> HttpAction | CommandAction:
    if "words" in data:
        return CommandAction(tuple(data["words"]))
    return HttpAction(data["method"], data["path"], base64.b64decode(data["body"]), data["content_type"])
