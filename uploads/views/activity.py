"""Descriptions of the events in a file's activity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.listing import redact_detail, referenced_folders, visible_folder_ids
from uploads.models import Action, Event, Visibility


def describe_events(events: Sequence[Event], user: User) -> list[tuple[Event, str]]:
    """Return each event of a file with its description, redacted for this user. One query.

    The description leaves out the actor and the time.
    """
    visible = visible_folder_ids(referenced_folders(events), user)
    return [(event, _describe(event, redact_detail(event, visible))) for event in events]


def _describe(event: Event, detail: dict[str, Any]) -> str:
    """Describe one event. Events of earlier releases can lack details, so the action's name is the fallback."""
    describe = _DESCRIPTIONS.get(event.action)
    return (describe(detail) if describe else "") or str(event.get_action_display())


def _renamed(detail: dict[str, Any]) -> str:
    return _("renamed it to “%(name)s”") % {"name": detail["new_name"]} if detail.get("new_name") else ""


def _moved(detail: dict[str, Any]) -> str:
    if detail.get("folder_name"):
        return _("moved it to “%(folder)s”") % {"folder": detail["folder_name"]}
    return _("moved it to the top of the library")


def _tagged(detail: dict[str, Any]) -> str:
    added, removed = (", ".join(map(str, detail.get(which) or [])) for which in ("added", "removed"))
    if added and removed:
        return _("put on the tags %(added)s and took off %(removed)s") % {"added": added, "removed": removed}
    if added:
        return _("put on the tags %(added)s") % {"added": added}
    return _("took off the tags %(removed)s") % {"removed": removed} if removed else ""


def _visibility_changed(detail: dict[str, Any]) -> str:
    return _("made it private") if detail.get("visibility") == Visibility.PRIVATE else _("showed it to the team")


_DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    Action.RENAME: _renamed,
    Action.MOVE: _moved,
    Action.TAG: _tagged,
    Action.VISIBILITY: _visibility_changed,
}
