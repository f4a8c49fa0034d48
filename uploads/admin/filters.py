"""Filters of the change lists. None counts rows, and values of which there can be thousands are typed, not listed."""

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

from uploads.actions import audit_labels
from uploads.forms import folder_by_path
from uploads.models import Category, ChecksumStatus, Kind, Origin, State, Statistic, Status, Tag, Visibility
from uploads.names import normalize_for_search
from uploads.views.responses import request_user

MAX_SUGGESTIONS = 8
MAX_TYPED_CHARACTERS = 1_500

DAYS = {"today": 0, "7d": 7, "30d": 30, "1y": 365}


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with a few fixed values. Raises IncorrectLookupParameters for others."""

    def valid_values(self) -> set[str]:
        return {str(value) for value, _label in self.lookup_choices}

    def selected(self) -> str | None:
        value = self.value()
        if value and value not in self.valid_values():
            raise IncorrectLookupParameters
        return value or None


class TextFilter(admin.SimpleListFilter):
    """A filter whose value is typed, with links to a few likely ones."""

    template = "admin/uploads/text_filter.html"
    hint: ClassVar[Any] = ""
    other_params: list[tuple[str, str]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return ()

    def has_output(self) -> bool:
        return True

    @property
    def typed(self) -> str:
        return (self.value() or "").strip()

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        self.other_params = [(name, text) for name, text in changelist.params.items() if name != self.parameter_name]
        yield from super().choices(changelist)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.typed:
            return queryset
        if len(self.typed) > MAX_TYPED_CHARACTERS:
            return queryset.none()
        return self.narrow(queryset, request)

    @abstractmethod
    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that match the typed value; an invalid value matches none."""


class StateFilter(ChoiceFilter):
    """The state of the files. The default is the library's current files, as on its pages."""

    title, parameter_name = _("state"), "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            ("library", _("In the library")),
            ("versions", _("Older versions")),
            ("trash", _("In the trash")),
            ("unfinished", _("Unfinished, my own")),
        ]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        _all, *choices = super().choices(changelist)
        choices[0]["selected"] = not self.value() or self.value() == "library"
        choices[0]["query_string"] = changelist.get_query_string(remove=[self.parameter_name])
        yield from choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.selected():
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
        category = self.selected()
        return queryset.filter(category=category) if category else queryset


class ChecksumStatusFilter(ChoiceFilter):
    """The problems with stored bytes, and those not yet verified."""

    title, parameter_name = _("stored bytes"), "checksum_status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            (ChecksumStatus.CORRUPTED.value, _("Damaged")),
            (ChecksumStatus.MISSING.value, _("Missing")),
            (ChecksumStatus.UNVERIFIED.value, _("Not yet checked")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        status = self.selected()
        return queryset.filter(checksum_status=status) if status else queryset


class OriginFilter(ChoiceFilter):
    """The origin of the objects."""

    title, parameter_name = _("origin"), "origin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [
            (Origin.UPLOADED.value, _("Uploaded here")),
            (Origin.IMPORTED.value, _("Imported")),
            (Origin.ADOPTED.value, _("Imported and taken over")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        origin = self.selected()
        return queryset.filter(origin=origin) if origin else queryset


class VisibilityFilter(ChoiceFilter):
    title, parameter_name = _("visibility"), "visibility"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [(Visibility.TEAM.value, _("Team")), (Visibility.PRIVATE.value, _("Private, my own"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        selected = self.selected()
        if selected == Visibility.PRIVATE:
            # other people's are not visible anyway; with the owner in the query, an index is used
            return queryset.filter(visibility=selected, owner=request.user)
        return queryset.filter(visibility=selected) if selected else queryset


class OwnerFilter(TextFilter):
    title, parameter_name, hint = _("owner"), "owner", _("User name")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        keys = largest_keys(request, Kind.OWNER)
        names = dict(User.objects.filter(pk__in=keys).values_list("pk", "username"))
        return [(names[int(key)], names[int(key)]) for key in keys if int(key) in names]

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        owner = User.objects.filter(username=self.typed).first()
        return rows.filter(owner=owner) if owner else rows.none()


class FolderFilter(TextFilter):
    """The files in exactly this folder, typed as its path; `/` is the top level."""

    title, parameter_name, hint = _("folder"), "folder", _("Its path, like Brand/Logos; / is the top")

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        if self.typed == "/":
            return rows.filter(folder__isnull=True)
        folder = folder_by_path(self.typed, request_user(request))
        return rows.filter(folder=folder) if folder else rows.none()


class TagFilter(TextFilter):
    title, parameter_name, hint = _("tag"), "tag", _("Tag")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        keys = largest_keys(request, Kind.TAG, by="-files")
        names = dict(Tag.objects.filter(pk__in=keys).values_list("pk", "name"))
        return [(names[int(key)], names[int(key)]) for key in keys if int(key) in names]

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        tag = Tag.objects.filter(normalized_name=normalize_for_search(self.typed)).first()
        return rows.filter(taggings__tag=tag) if tag else rows.none()


class TimeFilter(admin.SimpleListFilter):
    """A few periods, or a year, month or day in UTC: `2026`, `2026-11`, `2026-11-23`."""

    title, parameter_name = _("time"), "added"
    column: ClassVar[str] = "available_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        periods = [("today", _("Today")), ("7d", _("Last 7 days")), ("30d", _("Last 30 days")),
                 ("1y", _("Last 12 months"))]  # fmt: skip
        value = self.value()
        return [*periods, (value, value)] if value and value not in DAYS else periods

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if value in DAYS:
            return queryset.filter(**{f"{self.column}__gte": _days_ago(DAYS[value])})
        first, after = parse_period(value)
        return queryset.filter(**{f"{self.column}__gte": first, f"{self.column}__lt": after})


class EventTimeFilter(TimeFilter):
    parameter_name, column = "at", "at"


class ActionFilter(ChoiceFilter):
    title, parameter_name = _("what"), "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return audit_labels().items()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        action = self.selected()
        return queryset.filter(action=action) if action else queryset


class ActorFilter(TextFilter):
    """The events of one person. Deleted people are found by the name they had."""

    title, parameter_name, hint = _("who"), "actor", _("User name")

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        person = User.objects.filter(username=self.typed).first()
        return rows.filter(actor_id=person.pk) if person else rows.filter(actor=self.typed)


class DescendantFilter(TextFilter):
    """The subfolders of one folder; without filter and search, the top-level folders."""

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


def parse_period(text: str) -> tuple[datetime, datetime]:
    """Return the start of a year, month or day, and the start of the next one. Raises IncorrectLookupParameters."""
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


def largest_keys(request: HttpRequest, kind: Kind, *, by: str = "-bytes") -> list[str]:
    """Return the keys of the largest statistics, or none without the permission to see them."""
    if not request.user.has_perm("uploads.view_statistic"):
        return []
    statistics = Statistic.objects.filter(Q(files__gt=0), kind=kind, status=Status.STORED).order_by(by, "key")
    return list(statistics.values_list("key", flat=True)[:MAX_SUGGESTIONS])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days_ago(days: int) -> datetime:
    return _midnight(timezone.now().astimezone(UTC).date()) if not days else timezone.now() - timedelta(days=days)
