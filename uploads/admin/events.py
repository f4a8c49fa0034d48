"""The audit log in the admin, read-only: filter, search, export as CSV, and redaction for the reader."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.defaultfilters import yesno
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from uploads.actions import audit_label
from uploads.admin.base import LargeTableAdmin, render_cell
from uploads.admin.filters import ActionFilter, ActorFilter, EventTimeFilter
from uploads.humanize import humanize_bytes
from uploads.listing import redact_detail, referenced_folders, visible_folder_ids
from uploads.models import Action, Event, File, Folder
from uploads.models.audit import EventQuerySet
from uploads.models.querysets import FileQuerySet, in_batches
from uploads.templatetags.formatting import exact_time
from uploads.views.responses import request_user

MAX_MATCHES = 500  # files whose events a search by a part of their names covers
MAX_SEARCH_CHARACTERS = 255
REDACTED = gettext_lazy("hidden")
MAX_EXPORTED = 100_000
BATCH_SIZE = 2_000
BYTE_ORDER_MARK = "\ufeff"  # without it spreadsheets mistake UTF-8 for another encoding
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")  # OWASP ASVS 5.0, 1.2.10


@admin.register(Event)
class EventAdmin(LargeTableAdmin):
    list_display = ("time", "action_label", "actor_name", "item", "address", "details")
    list_display_links = None
    list_filter = (ActionFilter, EventTimeFilter, ActorFilter)
    search_fields = ("name",)
    search_help_text = gettext_lazy("Search by words in the file's current name, its full name at the time, or its ID")
    empty_text = gettext_lazy("Uploads, downloads, changes and sign-ins appear here.")
    sortable_by = ()
    ordering = ("-id",)
    actions = None
    fields = ("at", "action_label", "actor_name", "item", "file_id", "folder_id", "address", "details")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Sort by time, which has an index, if that is the only filter, otherwise by id."""
        other = any(request.GET.get(name) for name in ("action", "actor", "q"))
        return ("-at", "-id") if request.GET.get("at") and not other else ("-id",)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search by words of a file's current name, by its whole name at the time of the event, or by its id."""
        text = search_term.strip()
        if not text:
            return queryset, False
        try:
            return queryset.filter(file_id=UUID(text)), False
        except ValueError:
            pass
        if len(text) > MAX_SEARCH_CHARACTERS:
            return queryset.none(), False
        matches = Event.objects.filter(pk__in=_matching(queryset, text, request_user(request)))
        return matches.order_by(*queryset.query.order_by), False

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        redact_events(rows, request_user(request))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Event | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            redact_events([event], request_user(request))
        return event

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        url = reverse("admin:uploads_event_export") + f"?{request.GET.urlencode()}"
        return super().changelist_view(request, {"export": url, **(extra_context or {})})

    def get_urls(self) -> list[Any]:
        export = self.admin_site.admin_view(require_POST(self.export))
        return [path("export/", export, name="uploads_event_export"), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Stream the filtered list as CSV, and record the export in the audit log."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            events: Any = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse("admin:uploads_event_changelist"))
        user = request_user(request)
        Event.objects.record(Action.EXPORT, by=user, filter=request.GET.urlencode()[:1_000])
        response = StreamingHttpResponse(csv_lines(events, user), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="activity-{timezone.now():%Y-%m-%d}.csv"'
        return response

    @admin.display(description=gettext_lazy("time"))
    def time(self, event: Event) -> str:
        text = f"{timezone.localtime(event.at):%Y-%m-%d %H:%M}"
        return render_cell("text", text=text, title=exact_time(event.at))

    @admin.display(description=gettext_lazy("action"))
    def action_label(self, event: Event) -> str:
        return str(audit_label(event.action))

    @admin.display(description=gettext_lazy("user"))
    def actor_name(self, event: Event) -> str:
        return event.actor or "–"

    @admin.display(description=gettext_lazy("item"))
    def item(self, event: Any) -> str:
        if event.is_file_visible:
            return render_cell("link", url=reverse("file", args=[event.file_id]), text=event.redacted_name)
        if not event.redacted_name and (event.file_id or event.folder_id):
            return render_cell("text", text=REDACTED, css_class="quiet")
        return render_cell("text", text=event.redacted_name or "–")

    @admin.display(description=gettext_lazy("details"))
    def details(self, event: Any) -> str:
        return ", ".join(_describe(name, value) for name, value in event.redacted_detail.items()) or "–"


def _matching(events: EventQuerySet, text: str, user: User) -> Any:
    """Return the ids of the newest events about files that match `text`, and of events with exactly this name.

    Each of the two queries has an index; one query with OR would read the whole log.
    """
    files = File.objects.listed_for(user).matching(text).newest_first().only("id", "series")
    by_file = events.filter(file_id__in=[file.permanent_id for file in files[:MAX_MATCHES]])
    by_name = events.filter(name=text)
    if not user.is_superuser:  # even a redacted match would reveal that a hidden file or folder has this name
        visible = Folder.objects.visible_to(user).values("pk")
        by_name = by_name.filter(Q(folder_id__isnull=True) | Q(folder_id__in=visible), file_id__isnull=True)
    newest = [rows.order_by("-id").values("pk")[: MAX_EXPORTED + 1] for rows in (by_file, by_name)]
    return newest[0].union(newest[1])


def _describe(name: str, value: Any) -> str:
    text = humanize_bytes(value) if name == "size" and type(value) is int else _plain(value)
    return f"{name.replace('_', ' ')}: {text}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(yesno(value))
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "–"
    return _("none") if value is None else str(value)


# --- export -----------------------------------------------------------------------------------


class Echo:
    """A file object for csv.writer that returns each line instead of storing it."""

    def write(self, text: str) -> str:
        return text


def csv_lines(events: EventQuerySet, user: User) -> Iterator[str]:
    """Yield the events as CSV lines (RFC 4180), newest first. Over the limit, the last line says so."""
    writer = csv.writer(Echo(), quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    yield BYTE_ORDER_MARK
    yield writer.writerow(["id", _("time"), _("action"), _("user"), _("name"), _("file"), _("folder"), _("IP address"),
                           _("details")])  # fmt: skip
    written = 0
    for batch in in_batches(events, BATCH_SIZE, order=("-pk",)):  # no cursor stays open while a slow client reads
        redact_events(batch, user)
        for event in batch[: MAX_EXPORTED - written]:
            yield writer.writerow([cell(value) for value in _row(event)])
        written += len(batch)
        if written > MAX_EXPORTED:
            message = _("There are more than %(most)s entries. Narrow the filter to export the rest.") % {
                "most": f"{MAX_EXPORTED:,}"
            }
            yield writer.writerow(["", message, "", "", "", "", "", "", ""])
            return


def cell(value: Any) -> str:
    """Return the value as text that no spreadsheet evaluates as a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_PREFIXES) else text


def _row(event: Any) -> list[Any]:
    detail = json.dumps(event.redacted_detail, ensure_ascii=False, sort_keys=True) if event.redacted_detail else ""
    return [event.pk, event.at.isoformat(), event.action, event.actor, event.redacted_name, event.file_id,
            event.folder_id, event.address, detail]  # fmt: skip


# --- redaction --------------------------------------------------------------------------------


def redact_events(events: Sequence[Any], user: User) -> None:
    """Set `redacted_name`, `redacted_detail` and `is_file_visible` on each event, as far as `user` may see them.

    Names of files that the user may not see are left out. Names of deleted files are for superusers only, because it
    is no longer known who could see them. Three queries, for any number of events.
    """
    file_ids = {event.file_id for event in events if event.file_id}
    visible = _ids_of(File.objects.visible_to(user), file_ids)
    existing = _ids_of(File.objects.all(), file_ids)
    folders = visible_folder_ids(referenced_folders(events), user)
    for event in events:
        is_visible = _is_visible(event, visible, existing, folders, user)
        event.redacted_name = event.name if is_visible else ""
        event.redacted_detail = redact_detail(event, folders) if is_visible else {}
        event.is_file_visible = event.file_id in visible


def _is_visible(event: Event, visible: set[UUID], existing: set[UUID], folders: set[int], user: User) -> bool:
    if event.file_id:
        return event.file_id in visible or (user.is_superuser and event.file_id not in existing)
    if event.folder_id:
        return event.folder_id in folders
    return True


def _ids_of(rows: FileQuerySet, file_ids: set[UUID]) -> set[UUID]:
    return {file.permanent_id for file in rows.by_permanent_ids(file_ids).only("id", "series")} if file_ids else set()
