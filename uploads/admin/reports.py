"""Reports of commands, with every finding, and the tasks of the worker: all read-only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django_tasks_db.admin import DBTaskResultAdmin
from django_tasks_db.models import DBTaskResult

from uploads.admin.base import PAGE_ROWS, CappedPaginator, LargeTableAdmin, render_cell
from uploads.admin.filters import OutcomeFilter
from uploads.models import File, FindingKind, Report, RunOutcome
from uploads.services.fsck import COMMAND, describe_unrepaired
from uploads.templatetags.formatting import filesize

# Keys, and prefixes of them, that contain no text by people. Others can contain the names of private files.
SAFE_KEY = re.compile(r"([fp](/[0-9a-f]{0,32})?)?")
PUBLIC_COMMANDS = ("fsck", "verify")
HIDDEN = "…"
SIDES = {"rows": gettext_lazy("In the database"), "objects": gettext_lazy("In the bucket")}


@admin.register(Report)
class ReportAdmin(LargeTableAdmin):
    list_display = ("started_at", "command", "of_what", "how", "in_short")
    list_filter = (OutcomeFilter,)
    empty_text = gettext_lazy("Commands such as fsck and verify write a report when they end.")
    sortable_by = ()
    ordering = ("-id",)
    actions = None
    fields = readonly_fields = ("command", "of_what", "started_at", "ended_at", "how", "in_short")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Report]:
        """Show imports, moves and rebuilds to superusers only: their reports contain keys of other buckets."""
        reports: QuerySet[Report] = super().get_queryset(request)
        return reports if _sees_all(request.user) else reports.filter(command__in=PUBLIC_COMMANDS)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Report | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Report | None = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the report with a page of its findings. POST changes nothing."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        report: Report | None = self.get_object(request, object_id)
        if report is None:
            raise Http404
        kind = request.GET.get("kind", "")
        if kind not in {"", *FindingKind.values}:
            raise Http404
        page_context = {
            "title": str(report),
            "report": report,
            "scope": _redact_key(report.scope, request.user),
            "statistics": list(summary_items(report, request.user)),
            "kinds": _kind_choices(report, kind),
            "page": _page(report, kind, request.GET.get("p"), request.user),
            "selected": kind,
            "opts": self.opts,
        }
        context = {**self.admin_site.each_context(request), **page_context, **(extra_context or {})}
        return TemplateResponse(request, "admin/uploads/report/detail.html", context)

    @admin.display(description=gettext_lazy("scope"))
    def of_what(self, report: Report) -> str:
        return (report.scope if SAFE_KEY.fullmatch(report.scope) else HIDDEN) or _("all")

    @admin.display(description=gettext_lazy("outcome"))
    def how(self, report: Report) -> str:
        return report.get_outcome_display()

    @admin.display(description=gettext_lazy("statistics"))
    def in_short(self, report: Report) -> str:
        counts = report.summary.get("findings")
        if not isinstance(counts, dict):
            return str(report.summary.get("reason", "–"))
        objects = report.summary.get("objects", {}).get("count", 0)
        count = sum(counts.values())
        return _("%(objects)s compared, %(found)s differences") % {"objects": f"{objects:,}", "found": f"{count:,}"}


def latest_comparison() -> Report | None:
    """Return the latest completed comparison of the whole bucket and database, or None."""
    ended = [RunOutcome.SUCCEEDED, RunOutcome.DIFFERENCES]
    return Report.objects.filter(command=COMMAND, scope="", outcome__in=ended).first()


def summary_items(report: Report, reader: Any) -> Iterator[tuple[Any, Any]]:
    """Yield label and text of each item of the summary; those of other commands are shown as stored."""
    summary = dict(report.summary)
    if report.command == COMMAND:
        yield from _comparison_items(summary, reader)
    for name, value in summary.items():
        yield name.replace("_", " ").capitalize(), _plain(value)


def _comparison_items(summary: dict[str, Any], reader: Any) -> Iterator[tuple[Any, Any]]:
    digests = set()
    for side, label in SIDES.items():
        if totals := summary.pop(side, None):
            digests.add(totals["sha256"])
            files = ngettext("%(count)s object", "%(count)s objects", totals["count"]) % {
                "count": f"{totals['count']:,}"
            }
            yield label, render_cell("digest", count=files, size=filesize(totals["bytes"]), digest=totals["sha256"])
    if digests:
        yield _("Checksums"), _("equal") if len(digests) == 1 else _("different")
    summary.pop("findings", None)
    if unrepaired := describe_unrepaired(summary.pop("skipped", {})):
        yield _("Skipped"), "; ".join(unrepaired)
    if since := summary.pop("since", ""):
        yield _("Only keys after"), _redact_key(since, reader)
    if reason := summary.pop("reason", ""):
        yield _("Reason"), reason


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) or "–"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _kind_choices(report: Report, selected: str) -> list[dict[str, Any]]:
    """Return each kind of finding with its count, for the filter."""
    counts = report.findings.order_by().values_list("kind").annotate(count=Count("pk"))
    return [
        {"kind": kind, "label": FindingKind(kind).label, "count": count, "selected": kind == selected}
        for kind, count in sorted(counts)
    ]


def _sees_all(reader: Any) -> bool:
    return bool(reader.is_active and reader.is_superuser)


def _redact_key(key: str, reader: Any) -> str:
    return key if SAFE_KEY.fullmatch(key) or _sees_all(reader) else HIDDEN


def _page(report: Report, kind: str, number: str | None, reader: Any) -> Page[Any]:
    """Return a page of findings. Keys that can contain a name are shown to people who may see the file."""
    findings = report.findings.filter(kind=kind) if kind else report.findings.all()
    paginator = CappedPaginator(findings.order_by("id"), PAGE_ROWS)
    page = paginator.get_page(number)
    rows: list[Any] = list(page.object_list)
    files = File.objects.filter(pk__in=[row.file_id for row in rows if row.file_id])
    visible = set(files.visible_to(reader).values_list("pk", flat=True))
    for row in rows:
        row.url = reverse("admin:uploads_file_change", args=[row.file_id]) if row.file_id in visible else ""
        hidden = row.file_id not in visible and _redact_key(row.key, reader) == HIDDEN
        row.key, row.detail_text = (HIDDEN, "") if hidden else (row.key, _plain(row.detail))
    page.object_list = rows
    return page


admin.site.unregister(DBTaskResult)


@admin.register(DBTaskResult)
class TaskAdmin(LargeTableAdmin, DBTaskResultAdmin):
    """The worker's queue. There can be a task for every file ever uploaded."""

    list_filter = ("status",)  # type: ignore[assignment]
    empty_text = gettext_lazy("The worker's tasks appear here after the first upload.")
    sortable_by = ()
    actions = None
