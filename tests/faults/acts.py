"""What may be asked of a process that can die while it does it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

DIED = 137


@dataclass(frozen=True)
class Ask:
    """A request."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True)
class Command:
    """A command of manage.py."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """The answer to a request, in the words of Django's test client; of a command, its exit status."""

    status_code: int
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.content)

    def __getitem__(self, name: str) -> str:
        return self.headers[name]


def packed(thing: Ask | Command | Told) -> dict[str, Any]:
    """As JSON has it; bytes as base64."""
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in asdict(thing).items()
    }


def told_from(found: Mapping[str, Any]) -> Told:
    return Told(found["status_code"], base64.b64decode(found["content"]), found["headers"])


def act_from(found: Mapping[str, Any]) -> Ask | Command:
    if "words" in found:
        return Command(tuple(found["words"]))
    return Ask(found["method"], found["path"], base64.b64decode(found["body"]), found["content_type"])
