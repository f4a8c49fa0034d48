"""Models: files and their states, folders, tags, previews, usage, the audit log and statistics."""

from uploads.models.audit import Action, Event, client_ip_context
from uploads.models.content import FileContent, Preview, PreviewKind, PreviewState, new_preview_key
from uploads.models.file import LISTED, File, PartDigest, Tag, Tagging, new_key
from uploads.models.file_request import Ask, FileRequest, GuestSession
from uploads.models.folder import AccessLevel, Folder, Grant
from uploads.models.links import (
    Invitation,
    LinkState,
    PasswordReset,
    PublicLink,
    create_link,
    display_name,
    new_link_hint,
)
from uploads.models.maintenance import Finding, FindingKind, Heartbeat, Installation, Report, RunOutcome
from uploads.models.notification import (
    OPERATOR_KINDS,
    MailState,
    Notification,
    NotificationKind,
    NotificationPreference,
    OutgoingMail,
)
from uploads.models.preference import Favorite, Preference, SavedSearch
from uploads.models.publish import ObjectMetadata, publish
from uploads.models.share_link import ShareLink, ShareLinkFile
from uploads.models.states import (
    ALLOWED_TRANSITIONS,
    Category,
    ChecksumStatus,
    Origin,
    Refusal,
    SameName,
    ScanStatus,
    State,
    Visibility,
)
from uploads.models.throttle import Limit, TokenBucket
from uploads.models.usage import Statistic, StatisticDelta, StatisticKind, StatisticStatus, Usage, apply_deltas

__all__ = [
    "ALLOWED_TRANSITIONS",
    "LISTED",
    "OPERATOR_KINDS",
    "AccessLevel",
    "Action",
    "Ask",
    "Category",
    "ChecksumStatus",
    "Event",
    "Favorite",
    "File",
    "FileContent",
    "FileRequest",
    "Finding",
    "FindingKind",
    "Folder",
    "Grant",
    "GuestSession",
    "Heartbeat",
    "Installation",
    "Invitation",
    "Limit",
    "LinkState",
    "MailState",
    "Notification",
    "NotificationKind",
    "NotificationPreference",
    "ObjectMetadata",
    "Origin",
    "OutgoingMail",
    "PartDigest",
    "PasswordReset",
    "Preference",
    "Preview",
    "PreviewKind",
    "PreviewState",
    "PublicLink",
    "Refusal",
    "Report",
    "RunOutcome",
    "SameName",
    "SavedSearch",
    "ScanStatus",
    "ShareLink",
    "ShareLinkFile",
    "State",
    "Statistic",
    "StatisticDelta",
    "StatisticKind",
    "StatisticStatus",
    "Tag",
    "Tagging",
    "TokenBucket",
    "Usage",
    "Visibility",
    "apply_deltas",
    "client_ip_context",
    "create_link",
    "display_name",
    "new_key",
    "new_link_hint",
    "new_preview_key",
    "publish",
]
