"""The activity log in the admin: filtered, searched and exported, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from uploads.admin.base import LargeTableAdmin
from uploads.admin.export import MAX_EXPORTED, lines
from uploads.admin.filters import ActionFilter, ActorFilter, EventTimeFilter
from uploads.admin.redaction import redact_events
from uploads.models import Action, Event, File, Folder
from uploads.models.audit import EventQuerySet
from uploads.views.responses import request_user

MAX_MATCHES = 500  # files whose events are looked for by a part of their names
MAX_SEARCH_CHARACTERS = 255
UNTOLD = gettext_lazy("not for you to see")


@admin.register(Event)
class EventAdmin(LargeTableAdmin):
    list_display = ("at", "what", "who", "about", "address", "details")
    list_display_links = None
    list_filter = (ActionFilter, EventTimeFilter, ActorFilter)
    search_fields = ("name",)
    search_help_text = gettext_lazy("Words of a file's name, a whole name as it was then, or a whole id of a file")
    sortable_by = ()
    ordering = ("-id",)
    actions = None
    fields = ("at", "what", "who", "about", "file_id", "folder_id", "address", "details")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """A time alone is looked up by the index of times; everything else by the newest id."""
        other = any(request.GET.get(name) for name in ("action", "actor", "q"))
        return ("-at", "-id") if request.GET.get("at") and not other else ("-id",)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By names that files have now, through their own index; by the name of then, whole; by a file's id."""
        text = search_term.strip()
        if not text:
            return queryset, False
        try:
            return queryset.filter(file_id=UUID(text)), False
        except ValueError:
            pass
        if len(text) > MAX_SEARCH_CHARACTERS:
            return queryset.none(), False
        found = Event.objects.filter(pk__in=_matching(queryset, text, request_user(request)))
        return found.order_by(*queryset.query.order_by), False

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        redact_events(rows, request_user(request))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Event | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            redact_events([event], request_user(request))
        return event

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        address = reverse("admin:uploads_event_export") + f"?{request.GET.urlencode()}"
        return super().changelist_view(request, {"export": address, **(extra_context or {})})

    def get_urls(self) -> list[Any]:
        export = self.admin_site.admin_view(require_POST(self.export))
        return [path("export/", export, name="uploads_event_export"), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """What the list shows, as CSV. It is written down that somebody took it along."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            events: Any = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse("admin:uploads_event_changelist"))
        user = request_user(request)
        Event.objects.record(Action.EXPORT, by=user, filter=request.GET.urlencode()[:1_000])
        answer = StreamingHttpResponse(lines(events, user), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="activity-{timezone.now():%Y-%m-%d}.csv"'
        return answer

    @admin.display(description=gettext_lazy("what"))
    def what(self, event: Event) -> str:
        return event.get_action_display()

    @admin.display(description=gettext_lazy("who"))
    def who(self, event: Event) -> str:
        return event.actor or "–"

    @admin.display(description=gettext_lazy("about"))
    def about(self, event: Any) -> str:
        if event.open:
            return format_html('<a href="{}" dir="auto">{}</a>', reverse("file", args=[event.file_id]), event.told_name)
        if not event.told_name and (event.file_id or event.folder_id):
            return format_html('<span class="quiet">{}</span>', UNTOLD)
        return format_html('<span dir="auto">{}</span>', event.told_name or "–")

    @admin.display(description=gettext_lazy("details"))
    def details(self, event: Any) -> str:
        return ", ".join(f"{name}: {_plain(value)}" for name, value in event.told_detail.items()) or "–"


def _matching(events: EventQuerySet, text: str, user: User) -> Any:
    """Ids of the newest events about files of this name, and of those that bear it. An index answers each of the two
    questions; an OR of both would read the whole log."""
    files = File.objects.visible_to(user).listed().matching(text).newest_first().only("id", "series")
    about = events.filter(file_id__in=[file.link for file in files[:MAX_MATCHES]])
    named = events.filter(name=text)
    if not user.is_superuser:  # a line that tells nothing would tell that somebody else's file or folder is called so
        seen = Folder.objects.visible_to(user).values("pk")
        named = named.filter(Q(folder_id__isnull=True) | Q(folder_id__in=seen), file_id__isnull=True)
    newest = [rows.order_by("-id").values("pk")[: MAX_EXPORTED + 1] for rows in (about, named)]
    return newest[0].union(newest[1])


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "–"
    return _("none") if value is None else str(value)
