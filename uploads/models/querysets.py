"""Named, chainable querysets of files."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, models, transaction
from django.db.models import Exists, F, Func, OuterRef, Q, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Now

from uploads import names
from uploads.models.compiled import ANY_FILE, ANY_USER, CompiledQuery, bind, compile_ids
from uploads.models.folder import AccessLevel, Folder
from uploads.models.states import ALLOWED_TRANSITIONS, ChecksumStatus, State, Visibility
from uploads.models.usage import Usage

if TYPE_CHECKING:
    from uploads.models.file import File
    from uploads.models.file_request import GuestSession

LEASE_SECONDS = 60
MAX_IDS_IN_QUERY = 1_000  # folders
MAX_SAME_SIZE = 1_000  # files that are compared by checksum
DOWNLOAD_FIELDS = (
    "key", "store", "origin", "name", "size", "series", "current", "detected_type", "content_encoding",
    "checksum_status", "refusal", "scan_status", "quarantined",
)  # fmt: skip
INTACT = [ChecksumStatus.VERIFIED, ChecksumStatus.VERIFIED_BY_STORAGE]
TRIGRAM = re.compile(r"[^\W_]{3}")
# What a guest sends is for the guest alone until it is finished.
FINISHED_OR_OWN = Q(guest_session__isnull=True) | Q(state__in=[State.AVAILABLE, State.TRASHED])
Model = TypeVar("Model", bound=models.Model)


def seconds_from_now(seconds: float) -> Any:
    """Return an expression for this many seconds from now, by the database's clock."""
    return Now() + timedelta(seconds=seconds)


def database_now() -> datetime:
    """Return the time of the database's clock, for comparisons outside of a query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def in_batches(rows: models.QuerySet[Model], size: int, *, order: Sequence[Any] = ("pk",)) -> Iterator[list[Model]]:
    """Yield the rows in lists of at most `size`. Each is a query of its own, so that no cursor stays open meanwhile.

    `order` ends in "pk" or "-pk"; expressions before it must have the same value in all rows.
    """
    lookup = "pk__lt" if order[-1] == "-pk" else "pk__gt"
    ordered = page = rows.order_by(*order)
    while batch := list(page[:size]):
        yield batch
        page = ordered.filter(**{lookup: batch[-1].pk})


class _Multirange(Func):
    """The ids that a subquery finds, as a multirange, in which consecutive ids take the space of one.

    Postgres computes it once per query. It expects to run a subquery in `IN` or `EXISTS` for each row that it looks
    up, and then reads a whole table in order to find a few rows.
    """

    template = "coalesce((SELECT range_agg(int8range(id, id, '[]')) FROM %(expressions)s AS folder (id)), '{}')"


class _Contains(Func):
    arg_joiner = " @> "
    template = "%(expressions)s"
    output_field = models.BooleanField()


def _in(folders: CompiledQuery, user: User | None = None) -> Q:
    """Match the files in these folders, by a query for their ids that was compiled for ANY_USER."""
    ids = RawSQL(*bind(folders, {ANY_USER: user.pk} if user else {}))  # noqa: S611
    return Q(_Contains(_Multirange(ids), Coalesce("folder_id", 0)))


@functools.cache
def _closed_folders(level: AccessLevel) -> CompiledQuery:
    return compile_ids(Folder.objects.closed_to(User(pk=ANY_USER), level))


@functools.cache
def _granted_folders(level: AccessLevel) -> CompiledQuery:
    return compile_ids(Folder.objects.granted_to(User(pk=ANY_USER), level))


@functools.cache
def _unshareable_folders() -> CompiledQuery:
    return compile_ids(Folder.objects.inside_unshareable())


def _team_files(user: User) -> Q:
    """Match the team's files in folders that are open to this user, who has the permission `view_file`."""
    team = Q(visibility=Visibility.TEAM, quarantined=False)
    return team if user.is_superuser else team & ~_in(_closed_folders(AccessLevel.VIEW), user)


def _managed_files(user: User, permission: str, *, quarantined: bool = False) -> Q:
    """Match the team's files that this user manages, by role or by the access rules of their folder."""
    team = Q(visibility=Visibility.TEAM, quarantined=quarantined)
    if user.is_superuser:
        return team
    if user.has_perm(permission):
        return team & ~_in(_closed_folders(AccessLevel.MANAGE), user)
    return team & _in(_granted_folders(AccessLevel.MANAGE), user)


@functools.cache
def _download_query(*, viewer: bool, superuser: bool, shared: bool) -> CompiledQuery:
    from uploads.models.file import File

    visible = Q(owner_id=ANY_USER)
    if viewer:
        visible |= _team_files(User(pk=ANY_USER, is_superuser=superuser))
    rows = File.objects.listed().filter(visible).by_permanent_id(ANY_FILE)
    rows = rows.shareable() if shared else rows
    return rows.order_by().only(*DOWNLOAD_FIELDS).query.sql_with_params()


class _TextContains(Func):
    """Whether one text contains another, written so that no index is used."""

    template = "strpos(%(expressions)s) > 0"
    output_field = models.BooleanField()


class FileQuerySet(models.QuerySet["File"]):
    def visible_to(self, user: User | AnonymousUser) -> FileQuerySet:
        """Return every row this user may see, in any state. All access to files goes through this filter.

        Users see their own files, but uploads of guests only once they are finished. Users with `view_file` also see
        the team's available files, except in folders that are closed to them, and the trash of the folders that they
        manage. Private files and those in quarantine are visible to their owner only, and files that are being deleted
        to no one.
        """
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        visible = Q(owner=user) & FINISHED_OR_OWN
        if user.has_perm("uploads.view_file"):
            visible |= Q(state=State.AVAILABLE) & _team_files(user)
            visible |= Q(state=State.TRASHED) & _managed_files(user, "uploads.change_file")
        return self.filter(visible).exclude(state=State.DELETING)

    def listed_for(self, user: User | AnonymousUser) -> FileQuerySet:
        """Return `visible_to(user).listed()`, by a condition without the states that lists never show.

        Most requests are for lists, and building the full condition took a sixth of their CPU time.
        """
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        visible = Q(owner=user)
        if user.has_perm("uploads.view_file"):
            visible |= _team_files(user)
        return self.listed().filter(visible)

    def changeable_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Return the files that this user may rename, move, tag or replace, as owner or manager."""
        return self._editable_by(user, "uploads.change_file")

    def removable_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Return the files that this user may move to the trash or restore, as owner or manager."""
        return self._editable_by(user, "uploads.delete_file")

    def restorable_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Return the trashed files that this user may restore, to a place where they may add or manage files."""
        rows = self.removable_by(user).trashed()
        if isinstance(user, User) and user.is_superuser:
            return rows
        writable = Folder.objects.writable_by(user, with_removed=True)
        managed = Folder.objects.managed_by(user, "uploads.delete_file", with_removed=True)
        allowed = Q(folder__in=writable.values("pk")) | Q(folder__in=managed.values("pk"))
        if user.has_perm("uploads.add_file") or user.has_perm("uploads.delete_file"):
            allowed |= Q(folder__isnull=True)
        return rows.filter(allowed)

    def in_quarantine_for(self, user: User | AnonymousUser) -> FileQuerySet:
        """Return the files in quarantine that this user may release or delete: those of the team that they manage, and,
        for superusers, private ones. Apart from their owners, no one sees them, and no one can download them."""
        if not isinstance(user, User) or not user.is_active or not user.has_perm("uploads.review_quarantine"):
            return self.none()
        rows = self.filter(quarantined=True, state=State.AVAILABLE)
        if user.is_superuser:
            return rows
        return rows.filter(_managed_files(user, "uploads.change_file", quarantined=True))

    def _editable_by(self, user: User | AnonymousUser, permission: str) -> FileQuerySet:
        rows = self.visible_to(user)
        if not isinstance(user, User) or not user.is_active:
            return rows
        return rows.filter(Q(owner=user) | _managed_files(user, permission))

    def visible_by_permanent_id(self, user: User | AnonymousUser, pk: UUID, *, shared: bool = False) -> File | None:
        """Return the file of `listed_for(user).by_permanent_id(pk)` with the fields that a download needs, or None.

        `shared` adds `shareable()`.
        It uses SQL compiled once for all users with the same permissions, so earlier filters of the chain are ignored.
        """
        if not isinstance(user, User) or not user.is_active:
            return None
        viewer = user.has_perm("uploads.view_file")
        query = _download_query(viewer=viewer, superuser=user.is_superuser, shared=shared)
        return next(iter(self.raw(*bind(query, {ANY_USER: user.pk, ANY_FILE: pk}))), None)

    def listed(self) -> FileQuerySet:
        """Return the files that lists show: available, and the current version only."""
        return self.filter(state=State.AVAILABLE, current=True)

    def shareable(self) -> FileQuerySet:
        """Return the files outside of quarantine and of folders that forbid share links."""
        return self.filter(quarantined=False).exclude(_in(_unshareable_folders()))

    def shared_in_folders(self, user: User) -> FileQuerySet:
        """Return the files that this user's links to folders open: the team's files in folders that the user sees.

        Private files are left out, as are the user's own files in folders that are closed to them.
        """
        return self.listed_for(user).shareable().filter(_team_files(user))

    def by_permanent_id(self, pk: UUID) -> FileQuerySet:
        """Return the current version of the file with this permanent id."""
        return self.by_permanent_ids([pk])

    def by_permanent_ids(self, file_ids: Iterable[UUID]) -> FileQuerySet:
        ids = list(file_ids)
        return self.filter(Q(series__in=ids) | Q(pk__in=ids, series__isnull=True), current=True)

    def versions_of(self, file: File) -> FileQuerySet:
        """Return all versions of the file, including the file itself."""
        return self.filter(series=file.series) if file.series else self.filter(pk=file.pk)

    def same_content_as(self, file: File) -> FileQuerySet:
        """Return the other listed files with the bytes of this one, by their verified checksums.

        Empty files are left out. The index by size finds the candidates, of which MAX_SAME_SIZE are compared.
        """
        if not file.size or not file.checksum or file.checksum_status not in INTACT:
            return self.none()
        candidates = self.model.objects.listed().filter(size=file.size).order_by("size", "id").values("pk")
        same = self.filter(
            pk__in=candidates[:MAX_SAME_SIZE], checksum=file.checksum, checksum_algorithm=file.checksum_algorithm,
            checksum_status__in=INTACT,
        )  # fmt: skip
        return same.exclude(pk=file.pk)

    def duplicated_among(self, others: FileQuerySet) -> FileQuerySet:
        """Return the files whose content one of `others` has too, by the rule of `same_content_as`.

        The index by size finds the candidates for each file; where many have the same size, Postgres hashes one side.
        The time limit of lists bounds both.
        """
        intact = Q(size__gt=0, checksum_status__in=INTACT) & ~Q(checksum="")
        fields = ("size", "checksum", "checksum_algorithm")
        same = others.filter(intact, **{name: OuterRef(name) for name in fields}).exclude(pk=OuterRef("pk"))
        return self.filter(intact).filter(Exists(same))

    def matching(self, text: str, *, or_contents: Q | None = None) -> FileQuerySet:
        """Return the files whose name contains each of these words, ignoring case and accents.

        `or_contents` is a condition of `FileContentQuerySet.matching` for those that are found by their text.
        """
        matches = Q()
        for word in names.normalize_for_search(text).split():
            # without three letters in a row Postgres would scan the whole trigram index
            indexed = TRIGRAM.search(word) is not None
            matches &= (
                Q(normalized_name__contains=word) if indexed else Q(_TextContains(F("normalized_name"), Value(word)))
            )
        return self.filter(matches | or_contents if matches and or_contents else matches)

    def in_folder(self, folder: Folder | None) -> FileQuerySet:
        return self.filter(folder=folder) if folder else self.filter(folder__isnull=True)

    def below(self, folder: Folder) -> FileQuerySet:
        """Return the files in this folder and its subfolders, at any depth.

        Costs a query: with the ids of a few folders Postgres can estimate how many files match, with a subquery it
        cannot.
        """
        return self.below_any([folder])

    def below_any(self, folders: Sequence[Folder]) -> FileQuerySet:
        """Like `below`, for several folders."""
        below = Folder.objects.below_any(folders).order_by()
        ids = list(below.values_list("pk", flat=True)[: MAX_IDS_IN_QUERY + 1])
        if len(ids) <= MAX_IDS_IN_QUERY:
            return self.filter(folder__in=ids)
        return self.filter(folder__path__overlap=[folder.pk for folder in folders])

    def owned_by(self, user: User | AnonymousUser) -> FileQuerySet:
        return self.filter(owner_id=user.pk)

    def sent_by(self, user: User | AnonymousUser) -> FileQuerySet:
        """Return the user's own uploads, and the versions of other users' files that they uploaded."""
        return self.filter(Q(owner_id=user.pk, guest_session__isnull=True) | Q(uploaded_by_id=user.pk))

    def uploads_of(self, user: User | AnonymousUser, guest: GuestSession | None = None) -> FileQuerySet:
        """Return the files that this user has sent into their own space, or that this guest has sent into it."""
        if guest is not None:
            return self.filter(guest_session=guest)
        return self.filter(owner_id=user.pk, guest_session__isnull=True)

    def available(self) -> FileQuerySet:
        return self.filter(state=State.AVAILABLE)

    def unverified(self) -> FileQuerySet:
        """Return files with a checksum that was never verified. Imported files have none before the first reading."""
        return self.filter(checksum_status=ChecksumStatus.UNVERIFIED).exclude(checksum="")

    def trashed(self) -> FileQuerySet:
        return self.filter(state=State.TRASHED)

    def unfinished(self) -> FileQuerySet:
        return self.filter(state__in=[State.UPLOADING, State.COMPLETING])

    def uploading(self) -> FileQuerySet:
        """Return the uploads that have not expired, by the database's clock."""
        return self.filter(state=State.UPLOADING, expires_at__gt=Now())

    def overdue(self) -> FileQuerySet:
        """Return the uploads that expired before they were completed."""
        return self.filter(state=State.UPLOADING, expires_at__lte=Now())

    def completable(self) -> FileQuerySet:
        """Return the rows whose lease can be acquired: unexpired uploads, and completions with an expired lease."""
        return self.filter(
            Q(state=State.UPLOADING, expires_at__gt=Now()) | Q(state=State.COMPLETING, lease_until__lte=Now())
        )

    def stuck(self) -> FileQuerySet:
        """Return the completions whose lease has expired."""
        return self.filter(state=State.COMPLETING, lease_until__lte=Now())

    def due_for_purge(self) -> FileQuerySet:
        return self.filter(state=State.TRASHED, purge_after__lte=Now())

    def move_to(self, target: State, **fields: Any) -> int:
        """Move the rows that ALLOWED_TRANSITIONS lets reach the `target` state. Return how many moved.

        One conditional UPDATE, so that of two racing callers only one moves a row.
        """
        rows = self.filter(state__in=ALLOWED_TRANSITIONS[target])
        return rows.update(state=target, updated_at=Now(), **fields)

    def acquire_lease(self, *, checksum: str | None = None) -> int:
        """Acquire the completion lease of these rows for LEASE_SECONDS. Return how many were acquired.

        `checksum`, if given, becomes the declared checksum; otherwise the row keeps its own.
        """
        fields: dict[str, Any] = {} if checksum is None else {"checksum": checksum}
        return self.completable().update(
            state=State.COMPLETING,
            lease_until=seconds_from_now(LEASE_SECONDS),
            updated_at=Now(),
            **fields,
        )

    def extend(self, *, signed_seconds: float) -> int:
        """Record that presigned URLs of these uploads expire in `signed_seconds`, and renew the uploads' expiry."""
        return self.uploading().update(
            signed_until=seconds_from_now(signed_seconds),
            expires_at=seconds_from_now(settings.UPLOAD_EXPIRY_HOURS * 3600),
            updated_at=Now(),
        )

    def discard(self, *, owner_id: Any) -> int:
        """Move these uploads and trashed files of one owner to `deleting` and release their reservation, in one
        transaction. Return how many moved; rows that are in another state by now stay as they are."""
        with transaction.atomic():
            usage = Usage.objects.locked(owner_id)
            rows = self.filter(owner_id=owner_id, state__in=ALLOWED_TRANSITIONS[State.DELETING])
            sizes = dict(rows.order_by("pk").select_for_update(no_key=True).values_list("pk", "size"))
            self.model.objects.filter(pk__in=sizes).move_to(State.DELETING, lease_until=None, retry_at=None, tries=0)
            usage.change(files=-len(sizes), bytes=-sum(sizes.values()))
        return len(sizes)

    def newest_first(self) -> FileQuerySet:
        """Order available files by the time they were added, newest first."""
        return self.order_by("-available_at", "-id")

    def by_token(self, tokens: Iterable[UUID]) -> dict[UUID, File]:
        return {file.token: file for file in self.filter(token__in=list(tokens))}
