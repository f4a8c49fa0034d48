"""What was done, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.listing import redact_detail, redact_folders, referenced_folders
from uploads.models import Action, Event, Visibility


def describe_events(events: Sequence[Event], user: User) -> list[tuple[Event, str]]:
    """Each event about a file, and its act as this person may know it, without who and when. One query."""
    told = redact_folders(referenced_folders(events), user)
    return [(event, _describe(event, redact_detail(event, told))) for event in events]


def _describe(event: Event, detail: dict[str, Any]) -> str:
    """Old events may lack what newer ones tell."""
    told = _DESCRIPTIONS.get(event.action)
    return (told(detail) if told else "") or str(event.get_action_display())


def _renamed(detail: dict[str, Any]) -> str:
    return _("renamed it to “%(name)s”") % {"name": detail["to"]} if detail.get("to") else ""


def _moved(detail: dict[str, Any]) -> str:
    if detail.get("into"):
        return _("moved it to “%(folder)s”") % {"folder": detail["into"]}
    return _("moved it to the top of the library")


def _tagged(detail: dict[str, Any]) -> str:
    added, removed = (", ".join(map(str, detail.get(which) or [])) for which in ("added", "removed"))
    if added and removed:
        return _("put on the tags %(added)s and took off %(removed)s") % {"added": added, "removed": removed}
    if added:
        return _("put on the tags %(added)s") % {"added": added}
    return _("took off the tags %(removed)s") % {"removed": removed} if removed else ""


def _shown(detail: dict[str, Any]) -> str:
    return _("made it private") if detail.get("to") == Visibility.PRIVATE else _("showed it to the team")


_DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    Action.RENAME: _renamed,
    Action.MOVE: _moved,
    Action.TAG: _tagged,
    Action.VISIBILITY: _shown,
}
