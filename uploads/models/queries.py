"""The named questions about files; they chain."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from uploads.models.states import SOURCES, State, Visibility
from uploads.models.usage import Usage

if TYPE_CHECKING:
    from uploads.models.file import File

LEASE_SECONDS = 60


def in_seconds(seconds: float) -> Any:
    """A moment from now, by the database's clock."""
    return Now() + timedelta(seconds=seconds)


class FileQuerySet(models.QuerySet["File"]):
    def visible_to(self, user: User | AnonymousUser) -> FileQuerySet:
        """The one gate: every row this person may see, whatever its state.

        Everybody sees what is their own. Who may view files sees the team's available ones, and
        managers the team's trash. Private files are their owner's alone; nobody sees what is going.
        """
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        seen = Q(owner=user)
        team = Q(visibility=Visibility.TEAM)
        if user.has_perm("uploads.view_file"):
            seen |= team & Q(state=State.AVAILABLE)
        if user.has_perm("uploads.change_file"):
            seen |= team & Q(state=State.TRASHED)
        return self.filter(seen).exclude(state=State.DELETING)

    def removable_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Files that this person may put into the trash or take out of it: their own, or as a manager."""
        rows = self.visible_to(user)
        if isinstance(user, User) and user.has_perm("uploads.delete_file"):
            return rows
        return rows.filter(owner_id=user.pk)

    def owned_by(self, user: User | AnonymousUser) -> FileQuerySet:
        return self.filter(owner_id=user.pk)

    def available(self) -> FileQuerySet:
        return self.filter(state=State.AVAILABLE)

    def trashed(self) -> FileQuerySet:
        return self.filter(state=State.TRASHED)

    def unfinished(self) -> FileQuerySet:
        return self.filter(state__in=[State.UPLOADING, State.COMPLETING])

    def uploading(self) -> FileQuerySet:
        """Uploads that still have time, by the database's clock."""
        return self.filter(state=State.UPLOADING, expires_at__gt=Now())

    def overdue(self) -> FileQuerySet:
        """Uploads that nobody finished and whose time is over."""
        return self.filter(state=State.UPLOADING, expires_at__lte=Now())

    def claimable(self) -> FileQuerySet:
        """What may be claimed for assembly: uploads in time, and assemblies whose lease is over."""
        return self.filter(
            Q(state=State.UPLOADING, expires_at__gt=Now()) | Q(state=State.COMPLETING, lease_until__lte=Now())
        )

    def stuck(self) -> FileQuerySet:
        """Assemblies that somebody began and did not end."""
        return self.filter(state=State.COMPLETING, lease_until__lte=Now())

    def due_for_purge(self) -> FileQuerySet:
        return self.filter(state=State.TRASHED, purge_after__lte=Now())

    def claim(self, *, checksum: str | None = None) -> int:
        """Claim these rows for assembly, for the length of a lease. How many were had.

        With `checksum`, that becomes the announced checksum; without, the one of the row stays.
        """
        facts: dict[str, Any] = {} if checksum is None else {"checksum": checksum}
        return self.claimable().update(
            state=State.COMPLETING,
            lease_until=in_seconds(LEASE_SECONDS),
            updated_at=Now(),
            **facts,
        )

    def extend(self, *, signed_seconds: float) -> int:
        """Note that URLs of these uploads live for `signed_seconds`, and give the uploads new time."""
        return self.uploading().update(
            signed_until=in_seconds(signed_seconds),
            expires_at=in_seconds(settings.UPLOAD_EXPIRY_HOURS * 3600),
            updated_at=Now(),
        )

    def discard(self, *, owner_id: Any) -> int:
        """Move these uploads and trashed files of one owner to `deleting` and give their reservation
        back, in one transaction. How many were had: what is elsewhere by now stays as it is."""
        with transaction.atomic():
            usage = Usage.objects.locked(owner_id)
            rows = self.filter(owner_id=owner_id, state__in=SOURCES[State.DELETING])
            sizes = dict(rows.select_for_update(no_key=True).values_list("pk", "size"))
            self.model.objects.filter(pk__in=sizes).update(state=State.DELETING, lease_until=None, updated_at=Now())
            usage.change(files=-len(sizes), bytes=-sum(sizes.values()))
        return len(sizes)

    def newest_first(self, after: tuple[datetime, UUID] | None = None) -> FileQuerySet:
        """Available files by the time they were added; `after` is the last row of the page before."""
        return self._keyset("available_at", after)

    def latest_trashed_first(self, after: tuple[datetime, UUID] | None = None) -> FileQuerySet:
        return self._keyset("purge_after", after)

    def _keyset(self, column: str, after: tuple[datetime, UUID] | None) -> FileQuerySet:
        rows = self.order_by(f"-{column}", "-id")
        if after is None:
            return rows
        moment, pk = after
        # the first condition alone lets Postgres start inside the index
        return rows.filter(Q(**{f"{column}__lte": moment})).filter(Q(**{f"{column}__lt": moment}) | Q(id__lt=pk))

    def by_token(self, tokens: Iterable[UUID]) -> dict[UUID, File]:
        return {file.token: file for file in self.filter(token__in=list(tokens))}
