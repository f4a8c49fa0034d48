"""The audit log: who did what, when and from where. Triggers refuse to change or delete its rows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db import connections, models, router
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from uploads.models.querysets import database_now

if TYPE_CHECKING:
    from uploads.models.file import File
    from uploads.models.folder import Folder

INSERT_COLUMNS = ("action", "actor_id", "actor", "file_id", "folder_id", "name", "address")
# Written with each download: for Django to compile this statement takes longer than to run it.
INSERT_SQL = f"""
    INSERT INTO uploads_event ({", ".join(INSERT_COLUMNS)}, detail) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
"""  # noqa: S608

_address: ContextVar[str | None] = ContextVar("address", default=None)


class Action(models.TextChoices):
    UPLOAD = "upload", _("uploaded")
    VERSION = "version", _("uploaded a new version")
    VERSION_RESTORED = "version_restored", _("restored a previous version")
    DOWNLOAD = "download", _("downloaded")
    RENAME = "rename", _("renamed")
    MOVE = "move", _("moved")
    TAG = "tag", _("changed tags")
    VISIBILITY = "visibility", _("changed visibility")
    TRASH = "trash", _("moved to trash")
    RESTORE = "restore", _("restored")
    PURGE = "purge", _("permanently deleted")
    FOLDER = "folder", _("changed a folder")
    ACCESS = "access", _("changed folder access")
    SHARE = "share", _("shared by link")
    SHARE_REVOKED = "share_revoked", _("revoked a share link")
    LOGIN = "login", _("signed in")
    LOGOUT = "logout", _("signed out")
    LOGIN_FAILED = "login_failed", _("failed to sign in")
    PASSWORD = "password", _("changed a password")
    TWO_FACTOR = "two_factor", _("changed two-factor authentication")
    SESSION = "session", _("ended sessions")
    ACCOUNT = "account", _("changed an account")
    ROLE = "role", _("changed a role")
    TEAM = "team", _("changed a team")
    LIMIT = "limit", _("changed storage limits")
    HANDOVER = "handover", _("handed over files")
    FILE_REQUEST = "file_request", _("changed a file request")
    GUEST_UPLOAD = "guest_upload", _("received from a guest")
    INVITATION = "invitation", _("changed an invitation")
    ADMIN = "admin", _("made a change in the admin")
    EXPORT = "export", _("exported")
    IMPORT = "import", _("imported")
    MALWARE = "malware", _("found malware")
    QUARANTINE = "quarantine", _("released from quarantine")
    REPAIR = "repair", _("repaired")


def action_choices() -> list[tuple[str, Any]]:
    """Return the choices of `Event.action`. As a function, so that a new action needs no migration."""
    return Action.choices


@contextlib.contextmanager
def client_ip_context(address: str | None) -> Iterator[None]:
    """Record every event inside the block as coming from this network address."""
    token = _address.set(address)
    try:
        yield
    finally:
        _address.reset(token)


def current_client_ip() -> str | None:
    return _address.get()


MAX_RECENT_FILES = 50  # one page (listing.PAGE_SIZE): the page is sorted by last use in Python
MAX_RECENT_EVENTS = 200


def insert_values(row: Event) -> list[Any]:
    """Return the values of the INSERT_COLUMNS of an event, and of its detail, for SQL."""
    fields: list[Any] = [Event._meta.get_field(name) for name in INSERT_COLUMNS]
    return [*(field.get_prep_value(getattr(row, field.name)) for field in fields), json.dumps(row.detail)]


class EventQuerySet(models.QuerySet["Event"]):
    def record(
        self,
        action: Action,
        *,
        by: User | AnonymousUser | None = None,
        file: File | None = None,
        folder: Folder | None = None,
        name: str = "",
        **detail: Any,
    ) -> int:
        """Write one event and return its id. `by` is None for what the program does by itself."""
        row = event(action, by=by, file=file, folder=folder, name=name, **detail)
        with connections[router.db_for_write(Event)].cursor() as cursor:
            cursor.execute(INSERT_SQL, insert_values(row))
            return int(cursor.fetchone()[0])

    def recent_file_ids(self, user: User) -> list[UUID]:
        """Return the permanent ids of the MAX_RECENT_FILES files that the user last uploaded, downloaded or changed,
        newest first, among their last MAX_RECENT_EVENTS events."""
        rows = self.filter(actor_id=user.pk).order_by("-id").values_list("file_id", flat=True)[:MAX_RECENT_EVENTS]
        return list(dict.fromkeys(pk for pk in rows if pk))[:MAX_RECENT_FILES]

    def record_all(self, action: str, files: Iterable[File], *, by: User | None, **detail: Any) -> None:
        self.bulk_create([event(action, by=by, file=file, **detail) for file in files])

    def record_together(self, events: Sequence[Event]) -> list[Event]:
        """Write the events of one action with the same time, by which `undo` finds them with the actor."""
        if not events:
            return []
        now = database_now()
        for row in events:
            row.at = now
        return self.bulk_create(events)

    def together_with(self, event: Event) -> EventQuerySet:
        """Return the events of the same action, with the event itself."""
        return self.filter(actor_id=event.actor_id, at=event.at)

    def about(self, file_id: Any) -> EventQuerySet:
        """Return the events of one file, by its permanent id, newest first."""
        return self.filter(file_id=file_id).order_by("-id")


def event(
    action: str,
    *,
    by: User | AnonymousUser | None = None,
    share_link: int | None = None,
    file: File | None = None,
    folder: Folder | None = None,
    name: str = "",
    **detail: Any,
) -> Event:
    """Return an event that is not saved yet. `share_link` is the one that a guest used, or that a person changed."""
    subject = file or folder
    if share_link:
        detail["share_link"] = share_link
    return Event(
        action=action,
        actor_id=by.pk if by else None,
        actor=by.get_username() if by else f"share link {share_link}" if share_link else "",
        file_id=file.permanent_id if file else None,
        folder_id=folder.pk if folder else None,
        name=subject.name if subject else name[:255],
        address=current_client_ip(),
        detail=detail,
    )


class Event(models.Model):
    """One event. It holds copies instead of foreign keys, so it outlives the users, files and folders that it names."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(_("time"), db_default=Now(), editable=False)
    action = models.CharField(_("action"), max_length=20, choices=action_choices)
    actor_id = models.BigIntegerField(null=True)
    actor = models.CharField(_("user"), max_length=150, blank=True)
    file_id = models.UUIDField(_("file"), null=True)
    folder_id = models.BigIntegerField(null=True)
    name = models.CharField(_("name"), max_length=255, blank=True)
    address = models.GenericIPAddressField(_("IP address"), null=True, unpack_ipv4=True)
    detail = models.JSONField(_("details"), default=dict)

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("activity")
        verbose_name_plural = _("activity")
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["file_id", "-id"], condition=models.Q(file_id__isnull=False), name="event_by_file"),
            models.Index(fields=["actor_id", "-id"], name="event_by_actor"),
            models.Index(fields=["action", "-id"], name="event_by_action"),
            models.Index(fields=["at"], name="event_by_time"),
            models.Index(fields=["name", "-id"], name="event_by_name"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.get_action_display()} {self.name}".strip()
