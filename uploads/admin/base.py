"""Base classes of the admin: an audit log of changes, and change lists whose cost does not grow with the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import OperationalError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from amalga.db import is_statement_timeout, statement_timeout
from uploads.errors import Problem
from uploads.models import Action, Event, File, Folder
from uploads.views.responses import request_user

MAX_COUNTED = 2_000
PAGE_ROWS = 50
STATEMENT_TIMEOUT_SECONDS = 3.0
ANY_ID = "any-id"


def render_cell(name: str, **context: Any) -> str:
    """Return the markup of a column's value."""
    return render_to_string(f"admin/uploads/cells/{name}.html", context)


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Count at most MAX_COUNTED rows. The rows beyond are reached by filters and search, not by page number."""

    @cached_property
    def _count_with_next(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MAX_COUNTED + 1].count())

    @cached_property
    def count(self) -> int:
        return min(self._count_with_next, MAX_COUNTED)

    @property
    def more(self) -> bool:
        return self._count_with_next > MAX_COUNTED


class CappedChangeList(ChangeList):
    """Read the rows of a page once, with everything that the columns show."""

    more: bool
    max_counted = MAX_COUNTED

    @cached_property
    def _change_url_parts(self) -> tuple[str, str]:
        """Return what precedes and follows the id in the URL of a row's change page."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        url = reverse(name, args=[ANY_ID], current_app=self.model_admin.admin_site.name)
        prefix, _id, suffix = url.partition(ANY_ID)
        return prefix, suffix

    def url_for_result(self, result: Any) -> str:
        """Return the same URL as Django, without reversing it for every row."""
        prefix, suffix = self._change_url_parts
        return f"{prefix}{quote(result.pk)}{suffix}"

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Sort equal values by id in the direction of the column, which is the order of the indexes."""
        ordering = list(super().get_ordering(request, queryset))
        if ordering and ordering[-1] == "-pk" and isinstance(ordering[0], str) and not ordering[0].startswith("-"):
            ordering[-1] = "pk"
        return ordering

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        self.more = self.paginator.more
        if isinstance(self.model_admin, LargeTableAdmin):
            self.model_admin.annotate_page(request, self.result_list)


class AuditedModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Record additions, changes and deletions in the audit log."""

    show_facets = ShowFacets.NEVER  # facets count the whole table
    empty_text: Any = ""  # the second sentence of an empty list: how rows get there

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Name the list after its rows; Django's title is an instruction."""
        context = {"title": capfirst(self.opts.verbose_name_plural)}
        response: HttpResponse = super().changelist_view(request, {**context, **(extra_context or {})})
        return response

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record(request, obj, "added", message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record(request, obj, "changed", message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for obj in queryset:
            _record(request, obj, "deleted", [])
        return super().log_deletions(request, queryset)  # type: ignore[arg-type]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show the error of a service that refuses the change; nothing of the form is saved then."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Problem as problem:
            messages.error(request, problem.message)
            return HttpResponseRedirect(request.get_full_path())

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> HttpResponse | None:
        """Drop invalid ids before Django filters by them."""
        data = request.POST.copy()
        selected = data.getlist(ACTION_CHECKBOX_NAME)
        data.setlist(ACTION_CHECKBOX_NAME, [pk for pk in selected if self._is_id(pk)])
        request.POST = data  # type: ignore[assignment]
        return super().response_action(request, queryset, *args)

    def _is_id(self, text: str) -> bool:
        try:
            self.opts.pk.clean(text, None)
        except (ValidationError, ValueError):
            return False
        return True


class LargeTableAdmin(AuditedModelAdmin):
    """The base of admins for tables with millions of rows."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = PAGE_ROWS
    list_max_show_all = 4 * PAGE_ROWS
    actions_selection_counter = True

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Add related data for the columns to the rows of one page, with a fixed number of queries."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CappedChangeList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        try:
            with statement_timeout(STATEMENT_TIMEOUT_SECONDS):
                return super().get_changelist_instance(request)
        except (OverflowError, ValueError) as error:
            raise IncorrectLookupParameters from error
        except OperationalError as error:
            if not is_statement_timeout(error):
                raise
            messages.warning(request, _("This search takes too long. Add a filter, or search for a longer term."))
            raise IncorrectLookupParameters from error


def _record(request: HttpRequest, obj: Model, act: str, message: Any) -> None:
    Event.objects.record(
        Action.ADMIN,
        by=request_user(request),
        file=obj if isinstance(obj, File) else None,
        folder=obj if isinstance(obj, Folder) else None,
        name=str(obj),
        change=act,
        model=obj._meta.label_lower,
        id=str(obj.pk),
        fields=_fields(message),
    )


def _fields(message: Any) -> list[str]:
    """Return the names of the changed fields from the admin's change message, never their values."""
    if not isinstance(message, list):
        return []
    changes = (part for entry in message if isinstance(entry, dict) for part in entry.values())
    return [str(name) for part in changes if isinstance(part, dict) for name in part.get("fields", ())]
