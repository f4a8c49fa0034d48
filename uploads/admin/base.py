"""What every list of the admin has in common: it is written down who changed what, and millions of rows cost no more
than a page of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import OperationalError, connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _

from uploads.errors import Problem
from uploads.models import Action, Event, File, Folder
from uploads.views.responses import request_user

MAX_COUNTED = 10_000
PAGE_ROWS = 50
STATEMENT_TIMEOUT_MS = 3_000
ANY_ID = "any-id"
CHECKBOX = '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">'
CHECKBOX_LABEL = "Select this object for an action - {}"  # Django's text, and Django's translations of it
CANCELED = "57014"  # Postgres, appendix A: query_canceled


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts ten thousand rows at most: what lies behind them is found by a filter or a search, not by its page."""

    @cached_property
    def _found(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MAX_COUNTED + 1].count())

    @cached_property
    def count(self) -> int:
        return min(self._found, MAX_COUNTED)

    @property
    def more(self) -> bool:
        return self._found > MAX_COUNTED


class CappedChangeList(ChangeList):
    """A list whose rows are read once, with all that its columns need."""

    more: bool
    most = MAX_COUNTED

    @cached_property
    def _change_page(self) -> tuple[str, str]:
        """What stands before and behind an id in the address of a row's own page."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        address = reverse(name, args=[ANY_ID], current_app=self.model_admin.admin_site.name)
        before, _id, behind = address.partition(ANY_ID)
        return before, behind

    def url_for_result(self, result: Any) -> str:
        """As Django's, without asking all routes anew for every row."""
        before, behind = self._change_page
        return f"{before}{quote(result.pk)}{behind}"

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Equal values go by id in the same direction as the column, as the indexes have them."""
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
    """Whatever is added, changed or deleted here stands in the activity log."""

    show_facets = ShowFacets.NEVER  # they count everything

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
        """A service that refuses says why; nothing of the form is kept then."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Problem as problem:
            messages.error(request, problem.message)
            return HttpResponseRedirect(request.get_full_path())

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> HttpResponse | None:
        """Ids that are none were chosen by nobody."""
        sent = request.POST.copy()
        chosen = sent.getlist(ACTION_CHECKBOX_NAME)
        sent.setlist(ACTION_CHECKBOX_NAME, [pk for pk in chosen if self._is_id(pk)])
        request.POST = sent  # type: ignore[assignment]
        return super().response_action(request, queryset, *args)

    def _is_id(self, text: str) -> bool:
        try:
            self.opts.pk.clean(text, None)
        except (ValidationError, ValueError):
            return False
        return True


class LargeTableAdmin(AuditedModelAdmin):
    """An admin of something that there may be millions of."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = PAGE_ROWS
    list_max_show_all = 4 * PAGE_ROWS
    actions_selection_counter = True

    def action_checkbox(self, obj: Model) -> Any:
        """Django's own box; rendered by a template for every row it would be a fifth of the page's time."""
        return format_html(CHECKBOX, ACTION_CHECKBOX_NAME, obj.pk, format_html(_(CHECKBOX_LABEL), obj))

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Give the rows of one page what their columns show beside their own: a fixed number of queries."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CappedChangeList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        try:
            with _statement_timeout():
                return super().get_changelist_instance(request)
        except (OverflowError, ValueError) as error:
            raise IncorrectLookupParameters from error
        except OperationalError as fault:
            if getattr(fault.__cause__, "sqlstate", None) != CANCELED:
                raise
            messages.warning(request, _("That takes too long among so many. Add a filter, or search for more letters."))
            raise IncorrectLookupParameters from fault


@contextmanager
def _statement_timeout() -> Iterator[None]:
    """Whoever waits longer than this for a list has gone away."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = %s", [STATEMENT_TIMEOUT_MS])
        yield
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")


def _record(request: HttpRequest, obj: Model, act: str, message: Any) -> None:
    Event.objects.record(
        Action.ADMIN,
        by=request_user(request),
        file=obj if isinstance(obj, File) else None,
        folder=obj if isinstance(obj, Folder) else None,
        name=str(obj),
        act=act,
        model=obj._meta.label_lower,
        id=str(obj.pk),
        fields=_fields(message),
    )


def _fields(message: Any) -> list[str]:
    """The names of the fields that were changed, as the admin's own history tells them; never their values."""
    if not isinstance(message, list):
        return []
    told = (part for entry in message if isinstance(entry, dict) for part in entry.values())
    return [str(name) for part in told if isinstance(part, dict) for name in part.get("fields", ())]
