"""The filters beside the lists. None of them counts, and none lists thousands to choose from: what there may be many
of is typed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from uploads.admin.fields import folder_by_path
from uploads.models import Action, Category, ChecksumStatus, Figure, Kind, Origin, State, Status, Tag, Visibility
from uploads.names import normalize_for_search
from uploads.views.responses import request_user

MAX_SUGGESTIONS = 8
MAX_TYPED_CHARACTERS = 1_500

DAYS = {"today": 0, "7d": 7, "30d": 30, "1y": 365}


class ChoiceFilter(admin.SimpleListFilter):
    """A few fixed values; another one is nonsense."""

    def known(self) -> set[str]:
        return {str(value) for value, _label in self.lookup_choices}

    def chosen(self) -> str | None:
        value = self.value()
        if value and value not in self.known():
            raise IncorrectLookupParameters
        return value or None


class TextFilter(admin.SimpleListFilter):
    """A value that is typed, with a few likely ones to click on."""

    template = "admin/uploads/filter_typed.html"
    hint: ClassVar[Any] = ""
    kept: list[tuple[str, str]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return ()

    def has_output(self) -> bool:
        return True

    @property
    def typed(self) -> str:
        return (self.value() or "").strip()

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        self.kept = [(name, text) for name, text in changelist.params.items() if name != self.parameter_name]
        yield from super().choices(changelist)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.typed:
            return queryset
        if len(self.typed) > MAX_TYPED_CHARACTERS:
            return queryset.none()
        return self.narrow(queryset, request)

    @abstractmethod
    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        """The rows that fit what was typed; what makes no sense fits none."""


class StateFilter(ChoiceFilter):
    """Where the files stand: lists begin with what is in the library, as its pages do."""

    title, parameter_name = _("state"), "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            ("library", _("In the library")),
            ("versions", _("Older versions")),
            ("trash", _("In the trash")),
            ("unfinished", _("Unfinished, my own")),
        ]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        _all, *named = super().choices(changelist)
        named[0]["selected"] = not self.value() or self.value() == "library"
        named[0]["query_string"] = changelist.get_query_string(remove=[self.parameter_name])
        yield from named

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.chosen():
            case "versions":
                return queryset.filter(state=State.AVAILABLE, current=False, series__isnull=False)
            case "trash":
                return queryset.filter(state=State.TRASHED, current=True)
            case "unfinished":
                return queryset.filter(state__in=[State.UPLOADING, State.COMPLETING], owner=request.user)
        return queryset.filter(state=State.AVAILABLE, current=True)


class TypeFilter(ChoiceFilter):
    title, parameter_name = _("type"), "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return Category.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        family = self.chosen()
        return queryset.filter(family=family) if family else queryset


class ChecksumStatusFilter(ChoiceFilter):
    """What is wrong with stored bytes, or not known of them."""

    title, parameter_name = _("stored bytes"), "bytes"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            (ChecksumStatus.DAMAGED.value, _("Damaged")),
            (ChecksumStatus.MISSING.value, _("Missing")),
            (ChecksumStatus.CLAIMED.value, _("Not yet checked")),
            (ChecksumStatus.UNREAD.value, _("Imported and not yet read")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        basis = self.chosen()
        return queryset.filter(checksum_basis=basis) if basis else queryset


class OriginFilter(ChoiceFilter):
    """Who made the objects."""

    title, parameter_name = _("origin"), "origin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            (Origin.UPLOADED.value, _("Uploaded here")),
            (Origin.IMPORTED.value, _("Imported")),
            (Origin.ADOPTED.value, _("Imported and taken over")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        origin = self.chosen()
        return queryset.filter(origin=origin) if origin else queryset


class VisibilityFilter(ChoiceFilter):
    title, parameter_name = _("visibility"), "visibility"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [(Visibility.TEAM.value, _("Team")), (Visibility.PRIVATE.value, _("Private, my own"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        if chosen == Visibility.PRIVATE:
            # nobody sees other people's; said so, an index finds one's own
            return queryset.filter(visibility=chosen, owner=request.user)
        return queryset.filter(visibility=chosen) if chosen else queryset


class OwnerFilter(TextFilter):
    title, parameter_name, hint = _("owner"), "owner", _("User name")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        keys = largest(request, Kind.OWNER)
        names = dict(User.objects.filter(pk__in=keys).values_list("pk", "username"))
        return [(names[int(key)], names[int(key)]) for key in keys if int(key) in names]

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        owner = User.objects.filter(username=self.typed).first()
        return rows.filter(owner=owner) if owner else rows.none()


class FolderFilter(TextFilter):
    """Exactly this folder, by its path; `/` is the top."""

    title, parameter_name, hint = _("folder"), "folder", _("Its path, like Brand/Logos; / is the top")

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        if self.typed == "/":
            return rows.filter(folder__isnull=True)
        folder = folder_by_path(self.typed, request_user(request))
        return rows.filter(folder=folder) if folder else rows.none()


class TagFilter(TextFilter):
    title, parameter_name, hint = _("tag"), "tag", _("Tag")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        keys = largest(request, Kind.TAG, by="-files")
        names = dict(Tag.objects.filter(pk__in=keys).values_list("pk", "name"))
        return [(names[int(key)], names[int(key)]) for key in keys if int(key) in names]

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        tag = Tag.objects.filter(folded=normalize_for_search(self.typed)).first()
        return rows.filter(taggings__tag=tag) if tag else rows.none()


class TimeFilter(admin.SimpleListFilter):
    """A few spans, or a year, month or day of the world's time (UTC): `2026`, `2026-11`, `2026-11-23`."""

    title, parameter_name = _("time"), "added"
    column: ClassVar[str] = "available_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        spans = [("today", _("Today")), ("7d", _("Last 7 days")), ("30d", _("Last 30 days")),
                 ("1y", _("Last 12 months"))]  # fmt: skip
        value = self.value()
        return [*spans, (value, value)] if value and value not in DAYS else spans

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if value in DAYS:
            return queryset.filter(**{f"{self.column}__gte": _days_ago(DAYS[value])})
        first, after = span(value)
        return queryset.filter(**{f"{self.column}__gte": first, f"{self.column}__lt": after})


class EventTimeFilter(TimeFilter):
    parameter_name, column = "at", "at"


class ActionFilter(ChoiceFilter):
    title, parameter_name = _("what"), "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return Action.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        action = self.chosen()
        return queryset.filter(action=action) if action else queryset


class ActorFilter(TextFilter):
    """What one person did; people who are gone are found by the name they had."""

    title, parameter_name, hint = _("who"), "actor", _("User name")

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        person = User.objects.filter(username=self.typed).first()
        return rows.filter(actor_id=person.pk) if person else rows.filter(actor=self.typed)


class DescendantFilter(TextFilter):
    """The folders inside one folder; without a search the list begins at the top of the tree."""

    title, parameter_name, hint = _("inside of"), "inside", _("Its path, like Brand/Logos; / is the top")

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        if self.typed == "/":
            return rows.filter(parent__isnull=True)
        folder = folder_by_path(self.typed, request_user(request))
        return rows.filter(parent=folder) if folder else rows.none()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.typed and not request.GET.get("q", "").strip():
            return queryset.filter(parent__isnull=True)
        return super().queryset(request, queryset)


def span(text: str) -> tuple[datetime, datetime]:
    """The first moment of a year, month or day, and the first one after it. Raises IncorrectLookupParameters."""
    numbers = text.split("-")
    try:
        if not 1 <= len(numbers) <= 3 or not all(part.isascii() and part.isdigit() for part in numbers):
            raise ValueError(text)
        year, month, day = (int(part[:9]) for part in (*numbers, "1", "1")[:3])
        first = date(year, month, day)
        after = {1: lambda: date(year + 1, 1, 1), 2: lambda: (first + timedelta(days=32)).replace(day=1)}.get(
            len(numbers), lambda: first + timedelta(days=1)
        )()
        return _midnight(first), _midnight(after)
    except (ValueError, OverflowError) as error:
        raise IncorrectLookupParameters from error


def largest(request: HttpRequest, kind: Kind, *, by: str = "-bytes") -> list[str]:
    """Keys of the largest kept figures, for those who may know them."""
    if not request.user.has_perm("uploads.view_figure"):
        return []
    figures = Figure.objects.filter(Q(files__gt=0), kind=kind, status=Status.STORED).order_by(by, "key")
    return list(figures.values_list("key", flat=True)[:MAX_SUGGESTIONS])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days_ago(days: int) -> datetime:
    return _midnight(timezone.now().astimezone(UTC).date()) if not days else timezone.now() - timedelta(days=days)
