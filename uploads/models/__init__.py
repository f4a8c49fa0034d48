"""The rows: files and their states, folders, tags, previews, what people used and did, and kept totals."""

from uploads.models.attempt import Attempt, Limit
from uploads.models.event import Action, Event, acting_from
from uploads.models.figures import Change, Figure, Kind, Status, fold
from uploads.models.file import LISTED, File, PartClaim, new_key
from uploads.models.folder import Folder, Grant, Level
from uploads.models.preview import Look, Preview, PreviewState, new_preview_key
from uploads.models.publish import Facts, publish
from uploads.models.report import Finding, Heartbeat, Installation, Outcome, Report, Trouble
from uploads.models.session import Session
from uploads.models.states import SOURCES, Basis, Family, Origin, Refusal, State, Visibility
from uploads.models.tag import Tag, Tagging
from uploads.models.usage import Usage

__all__ = [
    "LISTED",
    "SOURCES",
    "Action",
    "Attempt",
    "Basis",
    "Change",
    "Event",
    "Facts",
    "Family",
    "Figure",
    "File",
    "Finding",
    "Folder",
    "Grant",
    "Heartbeat",
    "Installation",
    "Kind",
    "Level",
    "Limit",
    "Look",
    "Origin",
    "Outcome",
    "PartClaim",
    "Preview",
    "PreviewState",
    "Refusal",
    "Report",
    "Session",
    "State",
    "Status",
    "Tag",
    "Tagging",
    "Trouble",
    "Usage",
    "Visibility",
    "acting_from",
    "fold",
    "new_key",
    "new_preview_key",
    "publish",
]
