"""The named questions about files; they chain."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, connections, models, transaction
from django.db.models import F, Func, Q, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Now

from uploads import names
from uploads.models.folder import AccessLevel, Folder, FolderQuerySet
from uploads.models.prepared import PreparedQuery
from uploads.models.states import ALLOWED_TRANSITIONS, State, Visibility
from uploads.models.usage import Usage

if TYPE_CHECKING:
    from uploads.models.file import File

LEASE_SECONDS = 60
MAX_IDS_IN_QUERY = 1_000  # folders
UNFINISHED = "SELECT count(*) FROM uploads_file WHERE owner_id = %s AND state IN (%s, %s)"
DELIVERED = (
    "key", "store", "origin", "name", "size", "series", "current", "detected_type", "content_encoding",
    "checksum_basis", "refusal",
)  # fmt: skip
MIN_TRIGRAM_LENGTH = re.compile(r"[^\W_]{3}")


def seconds_from_now(seconds: float) -> Any:
    """A moment from now, by the database's clock."""
    return Now() + timedelta(seconds=seconds)


def database_now() -> datetime:
    """The moment by the database's clock, for what has to be compared with it outside of a query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


SOMEBODY = 2**62 + 1  # the person, and
SOME_FILE = uuid4()  # the link, in SQL that is made once for everybody


def _in_open_folders(user_id: int, *, superuser: bool) -> Q:
    return ~_lies_in(_closed(), user_id) if not superuser else Q()


def _managed(user: User, permission: str) -> Q:
    """Where this person manages what is the team's: by role, or where a folder's rules say so."""
    if user.is_superuser:
        return Q()
    by_rule = _lies_in(_managed_by_rule(), user.pk)
    if not user.has_perm(permission):
        return by_rule
    return by_rule | ~_lies_in(_ruled())


@functools.cache
def _closed() -> PreparedQuery[Folder]:
    return _ids(Folder.objects.closed_to(User(pk=SOMEBODY)), SOMEBODY)


@functools.cache
def _managed_by_rule() -> PreparedQuery[Folder]:
    return _ids(Folder.objects.governed_for(User(pk=SOMEBODY), AccessLevel.MANAGE), SOMEBODY)


@functools.cache
def _ruled() -> PreparedQuery[Folder]:
    return _ids(Folder.objects.filter(governor__isnull=False))


def _ids(folders: FolderQuerySet, *examples: int) -> PreparedQuery[Folder]:
    return PreparedQuery(folders.order_by().only("pk"), *examples)


def _lies_in(folders: PreparedQuery[Folder], *values: int) -> Q:
    """Files in one of these folders, of which the ids are gathered once for the whole query, as one value in which
    neighbours take the room of one.

    `folder IN (SELECT …)` says the same, but Postgres reckons with making that list anew for each file it looks
    up, so that it reads millions of files in order rather than look up the thousand that have a tag.
    """
    sql, parameters = folders.filled(*values)
    gathered = f"SELECT coalesce(range_agg(int8range(id, id, '[]')), '{{}}') FROM ({sql}) AS found (id)"  # noqa: S608
    return Q(_Holds(RawSQL(gathered, parameters), Coalesce("folder_id", 0)))  # noqa: S611  (SQL of Django's own)


@functools.cache
def _by_public_link(*, viewer: bool, superuser: bool) -> PreparedQuery[File]:
    from uploads.models.file import File

    rows = File.objects.live_visible_with(SOMEBODY, viewer=viewer, superuser=superuser).by_link(SOME_FILE)
    return PreparedQuery(rows.only(*DELIVERED), SOMEBODY, SOME_FILE)


class _Holds(Func):
    arg_joiner = " @> "
    template = "%(expressions)s"
    output_field = models.BooleanField()


class _Contains(Func):
    """Whether a text holds another, asked in a way that no index answers."""

    template = "strpos(%(expressions)s) > 0"
    output_field = models.BooleanField()


class FileQuerySet(models.QuerySet["File"]):
    def visible_to(self, user: User | AnonymousUser) -> FileQuerySet:
        """The one gate: every row this person may see, whatever its state.

        Everybody sees what is their own. Who may view files sees the team's available ones, save those in
        folders that are closed to them, and whoever manages a folder its trash. Private files are their
        owner's alone; nobody sees what is going.
        """
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        seen = Q(owner=user)
        if user.has_perm("uploads.view_file"):
            seen |= Q(visibility=Visibility.TEAM, state=State.AVAILABLE) & _in_open_folders(
                user.pk, superuser=user.is_superuser
            )
            seen |= Q(visibility=Visibility.TEAM, state=State.TRASHED) & _managed(user, "uploads.change_file")
        return self.filter(seen).exclude(state=State.DELETING)

    def changeable_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Files that this person may rename, move, tag or replace: their own, or as a manager."""
        return self._at_hand(user, "uploads.change_file")

    def removable_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Files that this person may put into the trash or take out of it: their own, or as a manager."""
        return self._at_hand(user, "uploads.delete_file")

    def restorable_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Files that this person may take out of the trash: back to where they may put files or manage them."""
        rows = self.removable_by(user).trashed()
        if isinstance(user, User) and user.is_superuser:
            return rows
        accepting = Folder.objects.accepting(user).values("pk")
        overseen = Folder.objects.overseen_by(user, "uploads.delete_file").values("pk")
        back = Q(folder__in=accepting) | Q(folder__in=overseen)
        if user.has_perm("uploads.add_file") or user.has_perm("uploads.delete_file"):
            back |= Q(folder__isnull=True)
        return rows.filter(back)

    def _at_hand(self, user: User | AnonymousUser, permission: str) -> FileQuerySet:
        rows = self.visible_to(user)
        if not isinstance(user, User) or not user.is_active:
            return rows
        return rows.filter(Q(owner=user) | (Q(visibility=Visibility.TEAM) & _managed(user, permission)))

    def live_visible_to(self, user: User | AnonymousUser) -> FileQuerySet:
        """`visible_to(user).listed()`, without asking for the states that this leaves out."""
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        return self.live_visible_with(user.pk, viewer=user.has_perm("uploads.view_file"), superuser=user.is_superuser)

    def live_visible_with(self, user_id: int, *, viewer: bool, superuser: bool) -> FileQuerySet:
        """What lists show to a person with these rights."""
        seen = Q(owner_id=user_id)
        if viewer:
            seen |= Q(visibility=Visibility.TEAM) & _in_open_folders(user_id, superuser=superuser)
        return self.listed().filter(seen)

    def visible_by_link(self, user: User | AnonymousUser, link: UUID) -> File | None:
        """`live_visible_to(user).by_link(link)` with what a download needs, in SQL that is made once for all
        who may the same. Nothing that was asked before counts."""
        if not isinstance(user, User) or not user.is_active:
            return None
        asked = _by_public_link(viewer=user.has_perm("uploads.view_file"), superuser=user.is_superuser)
        return next(iter(asked.rows(user.pk, link)), None)

    def listed(self) -> FileQuerySet:
        """What lists show: available, and of a file with several versions the one that counts."""
        return self.filter(state=State.AVAILABLE, current=True)

    def by_link(self, link: UUID) -> FileQuerySet:
        """The version that counts of the file with this permanent id."""
        return self.by_links([link])

    def by_links(self, links: Iterable[UUID]) -> FileQuerySet:
        wanted = list(links)
        return self.filter(Q(series__in=wanted) | Q(pk__in=wanted, series__isnull=True), current=True)

    def versions_of(self, file: File) -> FileQuerySet:
        """All rows of the file's series, the file itself included."""
        return self.filter(series=file.series) if file.series else self.filter(pk=file.pk)

    def matching(self, text: str) -> FileQuerySet:
        """Files with every one of these words anywhere in their name; case and accents do not count."""
        rows = self
        for word in names.normalize_for_search(text).split():
            # without three letters in a row the index of trigrams would be read from end to end
            indexed = MIN_TRIGRAM_LENGTH.search(word) is not None
            fits = Q(folded__contains=word) if indexed else Q(_Contains(F("folded"), Value(word)))
            rows = rows.filter(fits)
        return rows

    def in_folder(self, folder: Folder | None) -> FileQuerySet:
        return self.filter(folder=folder) if folder else self.filter(folder__isnull=True)

    def below(self, folder: Folder) -> FileQuerySet:
        """In this folder or anywhere under it. Costs a query: told by their ids, a few folders are found by them,
        where of a subquery Postgres could not know how many files it stands for."""
        ids = list(Folder.objects.below(folder).values_list("pk", flat=True)[: MAX_IDS_IN_QUERY + 1])
        if len(ids) <= MAX_IDS_IN_QUERY:
            return self.filter(folder__in=ids)
        return self.filter(folder__path__contains=[folder.pk])

    def owned_by(self, user: User | AnonymousUser) -> FileQuerySet:
        return self.filter(owner_id=user.pk)

    def sent_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Their own, and new versions that they uploaded of other people's files."""
        return self.filter(Q(owner_id=user.pk) | Q(uploaded_by_id=user.pk))

    def available(self) -> FileQuerySet:
        return self.filter(state=State.AVAILABLE)

    def trashed(self) -> FileQuerySet:
        return self.filter(state=State.TRASHED)

    def unfinished(self) -> FileQuerySet:
        return self.filter(state__in=[State.UPLOADING, State.COMPLETING])

    def count_unfinished(self, user: User) -> int:
        """`owned_by(user).unfinished().count()`, which stands on every page."""
        with connections[self.db].cursor() as cursor:
            cursor.execute(UNFINISHED, [user.pk, State.UPLOADING, State.COMPLETING])
            return int(cursor.fetchone()[0])

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
            lease_until=seconds_from_now(LEASE_SECONDS),
            updated_at=Now(),
            **facts,
        )

    def extend(self, *, signed_seconds: float) -> int:
        """Note that URLs of these uploads live for `signed_seconds`, and give the uploads new time."""
        return self.uploading().update(
            signed_until=seconds_from_now(signed_seconds),
            expires_at=seconds_from_now(settings.UPLOAD_EXPIRY_HOURS * 3600),
            updated_at=Now(),
        )

    def discard(self, *, owner_id: Any) -> int:
        """Move these uploads and trashed files of one owner to `deleting` and give their reservation
        back, in one transaction. How many were had: what is elsewhere by now stays as it is."""
        with transaction.atomic():
            usage = Usage.objects.locked(owner_id)
            rows = self.filter(owner_id=owner_id, state__in=ALLOWED_TRANSITIONS[State.DELETING])
            sizes = dict(rows.order_by("pk").select_for_update(no_key=True).values_list("pk", "size"))
            self.model.objects.filter(pk__in=sizes).update(
                state=State.DELETING, lease_until=None, retry_at=None, tries=0, updated_at=Now()
            )
            usage.change(files=-len(sizes), bytes=-sum(sizes.values()))
        return len(sizes)

    def newest_first(self) -> FileQuerySet:
        """Available files by the time they were added."""
        return self.order_by("-available_at", "-id")

    def by_token(self, tokens: Iterable[UUID]) -> dict[UUID, File]:
        return {file.token: file for file in self.filter(token__in=list(tokens))}
