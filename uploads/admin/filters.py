"""Filters and the date hierarchy of the change lists. None counts rows, and values of which there can be thousands are
typed, not listed."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Substr
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from uploads.actions import audit_labels
from uploads.forms import folder_by_path
from uploads.listing import AGE_FILTERS, time_ago
from uploads.models import (
    Category,
    ChecksumStatus,
    Origin,
    RunOutcome,
    State,
    Statistic,
    StatisticKind,
    StatisticStatus,
    Tag,
    Visibility,
)
from uploads.models.folder import FolderQuerySet
from uploads.names import normalize_for_search
from uploads.views.responses import request_user

MAX_SUGGESTIONS = 8
MAX_TYPED_CHARACTERS = 1_500

PERIODS = {value: (label, age) for value, (label, age, _min_age) in AGE_FILTERS.items() if age is not None}
YEAR, MONTH, DAY = 4, 7, 10  # characters of 2026-11-23
PART = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)


class ChoiceFilter(admin.SimpleListFilter):
    """A filter of the column `field` by a few fixed values. Raises IncorrectLookupParameters for others."""

    field: ClassVar[str] = ""
    options: ClassVar[Iterable[tuple[str, Any]]] = ()  # value and label

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return self.options

    def selected(self) -> str | None:
        value = self.value()
        if value and value not in {str(choice) for choice, _label in self.lookup_choices}:
            raise IncorrectLookupParameters
        return value or None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        selected = self.selected()
        return queryset.filter(**{self.field: selected}) if selected else queryset


def default_first(list_filter: admin.SimpleListFilter, changelist: ChangeList, choices: Iterable[Any]) -> Iterator[Any]:
    """Leave out “All”: the first choice is the default."""
    _all, first, *others = choices
    first["selected"] = first["selected"] or not list_filter.value()
    first["query_string"] = changelist.get_query_string(remove=[list_filter.parameter_name or ""])
    yield from (first, *others)


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
    options = (
        ("library", _("In the library")),
        ("versions", _("Previous versions")),
        ("trash", _("In the trash")),
        ("unfinished", _("Unfinished (mine)")),
    )

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        yield from default_first(self, changelist, super().choices(changelist))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.selected():
            case "versions":
                return queryset.filter(state=State.AVAILABLE, current=False, series__isnull=False)
            case "trash":
                return queryset.filter(state=State.TRASHED, current=True)
            case "unfinished":
                return queryset.filter(state__in=[State.UPLOADING, State.COMPLETING], owner=request.user)
        return queryset.filter(state=State.AVAILABLE, current=True)


def is_trash(request: HttpRequest) -> bool:
    """Return whether the list of files or folders shows the trash."""
    return request.GET.get("state") == "trash"


class FolderStateFilter(ChoiceFilter):
    """Folders of the library, or those in the trash that this person may restore, as on the pages."""

    title, parameter_name = _("state"), "state"
    options = (("library", _("In the library")), ("trash", _("In the trash")))

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        yield from default_first(self, changelist, super().choices(changelist))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        rows: FolderQuerySet = queryset  # type: ignore[assignment]
        if self.selected() != "trash":
            return rows.living()
        return rows.trashed().editable_by(request_user(request))


class TypeFilter(ChoiceFilter):
    title, parameter_name, field, options = _("type"), "type", "category", Category.choices


class ChecksumStatusFilter(ChoiceFilter):
    """The problems with stored bytes, and those not yet verified."""

    title, parameter_name, field = _("integrity"), "checksum_status", "checksum_status"
    options = (
        (ChecksumStatus.CORRUPTED.value, _("Corrupted")),
        (ChecksumStatus.MISSING.value, _("Missing")),
        (ChecksumStatus.UNVERIFIED.value, _("Not verified")),
    )


class OriginFilter(ChoiceFilter):
    title, parameter_name, field = _("origin"), "origin", "origin"
    options = (
        (Origin.UPLOADED.value, _("Uploaded here")),
        (Origin.IMPORTED.value, _("Imported")),
        (Origin.ADOPTED.value, _("Imported, managed by Amalga")),
    )


class VisibilityFilter(ChoiceFilter):
    title, parameter_name, field = _("visibility"), "visibility", "visibility"
    options = ((Visibility.TEAM.value, _("Team")), (Visibility.PRIVATE.value, _("Private (mine)")))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Filter private files by their owner too, which uses an index: others' are not visible anyway."""
        rows = super().queryset(request, queryset)
        return rows.filter(owner=request.user) if self.selected() == Visibility.PRIVATE else rows


class OutcomeFilter(ChoiceFilter):
    title, parameter_name, field, options = _("outcome"), "outcome", "outcome", RunOutcome.choices


class ActionFilter(ChoiceFilter):
    title, parameter_name, field = _("action"), "action", "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return audit_labels().items()


class OwnerFilter(TextFilter):
    title, parameter_name, hint = _("owner"), "owner", _("Username")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        keys = largest_keys(request, StatisticKind.OWNER)
        return _suggestions(keys, User.objects.filter(pk__in=keys).values_list("pk", "username"))

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        owner = User.objects.filter(username=self.typed).first()
        return rows.filter(owner=owner) if owner else rows.none()


class FolderFilter(TextFilter):
    """The files in exactly this folder, typed as its path; `/` is the top level."""

    title, parameter_name, hint = _("folder"), "folder", _("Path, for example Brand/Logos; / is the top level")
    column: ClassVar[str] = "folder"

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        if self.typed == "/":
            return rows.filter(**{f"{self.column}__isnull": True})
        folder = folder_by_path(self.typed, request_user(request))
        return rows.filter(**{self.column: folder}) if folder else rows.none()


class TagFilter(TextFilter):
    title, parameter_name, hint = _("tag"), "tag", _("Tag")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        keys = largest_keys(request, StatisticKind.TAG, by="-files")
        return _suggestions(keys, Tag.objects.filter(pk__in=keys).values_list("pk", "name"))

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        tag = Tag.objects.filter(normalized_name=normalize_for_search(self.typed)).first()
        return rows.filter(taggings__tag=tag) if tag else rows.none()


class TimeFilter(admin.SimpleListFilter):
    """A few periods, or a year, month or day in UTC: `2026`, `2026-11`, `2026-11-23`."""

    title, parameter_name = _("time"), "added"
    column: ClassVar[str] = "available_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        periods = [(value, label) for value, (label, _age) in PERIODS.items()]
        selected = self.value()
        return [*periods, (selected, selected)] if selected and selected not in PERIODS else periods

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        if value in PERIODS:
            _label, age = PERIODS[value]
            return queryset.filter(**{f"{self.column}__gte": time_ago(age)})
        first, after = parse_period(value)
        return queryset.filter(**{f"{self.column}__gte": first, f"{self.column}__lt": after})


class EventTimeFilter(TimeFilter):
    parameter_name, column = "at", "at"


class ActorFilter(TextFilter):
    """The events of one person. Deleted people are found by the name they had."""

    title, parameter_name, hint = _("user"), "actor", _("Username")

    def narrow(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        person = User.objects.filter(username=self.typed).first()
        return rows.filter(actor_id=person.pk) if person else rows.filter(actor=self.typed)


class ParentFilter(FolderFilter):
    """The subfolders of one folder; in the library, without filter and search, the top-level folders."""

    title, parameter_name, column = _("parent folder"), "inside", "parent"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.typed and not request.GET.get("q", "").strip() and not is_trash(request):
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


def largest_keys(request: HttpRequest, kind: StatisticKind, *, by: str = "-bytes") -> list[str]:
    """Return the keys of the largest statistics, or none without the permission to see them."""
    if not request.user.has_perm("uploads.view_statistic"):
        return []
    statistics = Statistic.objects.filter(Q(files__gt=0), kind=kind, status=StatisticStatus.STORED).order_by(by, "key")
    return list(statistics.values_list("key", flat=True)[:MAX_SUGGESTIONS])


def _suggestions(keys: list[str], rows: Iterable[tuple[int, str]]) -> list[tuple[str, str]]:
    """Return value and label of a filter for each of the keys, in their order, that still has a name."""
    names = dict(rows)
    return [(names[int(key)], names[int(key)]) for key in keys if int(key) in names]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


# --- date hierarchy ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DateLevel:
    """A link to a year, month or day; `files` is None in links back to a longer period."""

    label: str
    query: str
    files: int | None = None


def date_levels(request: HttpRequest) -> list[DateLevel]:
    """Return links back to longer periods and into the selected one. One query, and none without the permission."""
    if not request.user.has_perm("uploads.view_statistic"):
        return []
    selected = request.GET.get("added", "")
    selected = selected if PART.fullmatch(selected) else ""
    width = {0: YEAR, YEAR: MONTH}.get(len(selected), DAY)
    prefix = selected[: MONTH if width == DAY else YEAR]
    back = [prefix[:end] for end in (YEAR, MONTH) if len(prefix) >= end]
    statistics = Statistic.objects.filter(kind=StatisticKind.DAY, status=StatisticStatus.STORED, key__startswith=prefix)
    parts = statistics.annotate(part=Substr("key", 1, width)).values("part").annotate(total=Sum("files"))
    counts = parts.filter(total__gt=0).order_by("-part" if width == YEAR else "part").values_list("part", "total")
    return [
        *(DateLevel(part, _period_url(request, part)) for part in (["", *back] if back else [])),
        *(DateLevel(part, _period_url(request, part), total) for part, total in counts if part not in back),
    ]


def _period_url(request: HttpRequest, added: str) -> str:
    query = request.GET.copy()
    for name in ("p", "e", "added"):
        query.pop(name, None)
    if added:
        query["added"] = added
    return f"?{query.urlencode()}"
