"""What the commands reported, in the admin: figures in words, and every difference that was found."""

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
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.admin.base import PAGE_ROWS, CappedPaginator, LargeTableAdmin
from uploads.admin.filters import ChoiceFilter
from uploads.models import File, Report, RunOutcome, Trouble
from uploads.services.fsck import COMMAND, describe_unrepaired
from uploads.templatetags.formatting import filesize

# Nothing of a person's text is in such a key, or in the beginning of one. Others may hold the names of private files.
OURS = re.compile(r"([fp](/[0-9a-f]{0,32})?)?")
COMMANDS_FOR_ALL = ("fsck", "verify")
HIDDEN = "…"
SIDES = {"rows": gettext_lazy("In the database"), "objects": gettext_lazy("In the bucket")}


class OutcomeFilter(ChoiceFilter):
    title, parameter_name = gettext_lazy("outcome"), "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return RunOutcome.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.chosen()
        return queryset.filter(outcome=chosen) if chosen else queryset


@admin.register(Report)
class ReportAdmin(LargeTableAdmin):
    list_display = ("started_at", "command", "of_what", "how", "in_short")
    list_filter = (OutcomeFilter,)
    sortable_by = ()
    ordering = ("-id",)
    actions = None
    fields = readonly_fields = ("command", "of_what", "started_at", "ended_at", "how", "in_short")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Report]:
        """What was brought in, moved and rebuilt is told to superusers: keys of others' buckets stand there."""
        reports: QuerySet[Report] = super().get_queryset(request)
        return reports if _sees_all(request.user) else reports.filter(command__in=COMMANDS_FOR_ALL)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Report | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Report | None = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The report's own page. To look at: POST changes nothing."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        report: Report | None = self.get_object(request, object_id)
        if report is None:
            raise Http404
        chosen = request.GET.get("trouble", "")
        if chosen not in {"", *Trouble.values}:
            raise Http404
        told = {
            "title": str(report),
            "report": report,
            "scope": _discrepancies_text(report.scope, request.user),
            "figures": list(summary_figures(report, request.user)),
            "troubles": _troubles(report, chosen),
            "page": _page(report, chosen, request.GET.get("p"), request.user),
            "chosen": chosen,
            "opts": self.opts,
        }
        context = {**self.admin_site.each_context(request), **told, **(extra_context or {})}
        return TemplateResponse(request, "admin/uploads/report/page.html", context)

    @admin.display(description=gettext_lazy("of what"))
    def of_what(self, report: Report) -> str:
        return (report.scope if OURS.fullmatch(report.scope) else HIDDEN) or _("all")

    @admin.display(description=gettext_lazy("outcome"))
    def how(self, report: Report) -> str:
        return report.get_outcome_display()

    @admin.display(description=gettext_lazy("figures"))
    def in_short(self, report: Report) -> str:
        found = report.summary.get("found")
        if not isinstance(found, dict):
            return str(report.summary.get("reason", "–"))
        objects = report.summary.get("objects", {}).get("count", 0)
        count = sum(found.values())
        return _("%(objects)s compared, %(found)s differences") % {"objects": f"{objects:,}", "found": f"{count:,}"}


def last_comparison() -> Report | None:
    """The last whole comparison of bucket and database that came to an end."""
    ended = [RunOutcome.AGREED, RunOutcome.DIFFERENCES]
    return Report.objects.filter(command=COMMAND, scope="", outcome__in=ended).first()


def summary_figures(report: Report, reader: Any) -> Iterator[tuple[Any, Any]]:
    """Label and words for each figure; those of other commands as they wrote them."""
    summary = dict(report.summary)
    if report.command == COMMAND:
        yield from _of_comparison(summary, reader)
    for name, value in summary.items():
        yield name.replace("_", " ").capitalize(), _plain(value)


def _of_comparison(summary: dict[str, Any], reader: Any) -> Iterator[tuple[Any, Any]]:
    digests = set()
    for side, label in SIDES.items():
        if of := summary.pop(side, None):
            digests.add(of["sha256"])
            files = ngettext("%(count)s object", "%(count)s objects", of["count"]) % {"count": f"{of['count']:,}"}
            yield label, format_html("{}, {}<br><code>{}</code>", files, filesize(of["bytes"]), of["sha256"])
    if digests:
        yield _("Digests"), _("equal") if len(digests) == 1 else _("different")
    summary.pop("found", None)
    if left := describe_unrepaired(summary.pop("left", {})):
        yield _("Left out"), format_html("{}", "; ".join(left))
    if since := summary.pop("since", ""):
        yield _("Only what comes behind"), _discrepancies_text(since, reader)
    if reason := summary.pop("reason", ""):
        yield _("Reason"), reason


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_plain(of)}" for name, of in value.items()) or "–"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _troubles(report: Report, chosen: str) -> list[dict[str, Any]]:
    """Each kind of difference with its number, to choose one."""
    counts = report.findings.order_by().values_list("trouble").annotate(count=Count("pk"))
    return [
        {"trouble": trouble, "label": Trouble(trouble).label, "count": count, "chosen": trouble == chosen}
        for trouble, count in sorted(counts)
    ]


def _sees_all(reader: Any) -> bool:
    return bool(reader.is_active and reader.is_superuser)


def _discrepancies_text(key: str, reader: Any) -> str:
    return key if OURS.fullmatch(key) or _sees_all(reader) else HIDDEN


def _page(report: Report, chosen: str, number: str | None, reader: Any) -> Page[Any]:
    """A page of findings. A key that may hold a name is told to those who may see the file, as everywhere."""
    findings = report.findings.filter(trouble=chosen) if chosen else report.findings.all()
    paginator = CappedPaginator(findings.order_by("id"), PAGE_ROWS)
    page = paginator.get_page(number)
    rows: list[Any] = list(page.object_list)
    files = File.objects.filter(pk__in=[row.file_id for row in rows if row.file_id])
    seen = set(files.visible_to(reader).values_list("pk", flat=True))
    for row in rows:
        row.address = reverse("admin:uploads_file_change", args=[row.file_id]) if row.file_id in seen else ""
        hidden = row.file_id not in seen and _discrepancies_text(row.key, reader) == HIDDEN
        row.key, row.told = (HIDDEN, "") if hidden else (row.key, _plain(row.detail))
    page.object_list = rows
    return page
