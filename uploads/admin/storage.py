"""The storage dashboard: stored files by time, type, owner and folder, from the statistics alone."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from uploads.admin.charts import Share, area, bars
from uploads.admin.reports import latest_comparison
from uploads.admin.stats import by_category, by_folder, by_owner, growth, totals
from uploads.models import apply_deltas
from uploads.views.responses import request_user

MAX_DELTAS_APPLIED = 5  # batches; the sweep applies the rest


@require_safe
def storage(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Show the dashboard with nine queries, after adding the latest changes to the statistics."""
    if not request.user.has_perm("uploads.view_statistic"):
        raise PermissionDenied
    apply_deltas(batches=MAX_DELTAS_APPLIED)
    periods = growth()
    dashboard = {
        "title": _("Storage"),
        "totals": totals(),
        "comparison": latest_comparison(),
        "periods": periods,
        "growth": area(periods),
        "charts": [
            _chart("type", _("By type"), _("Type"), by_category()),
            _chart("owner", _("By owner"), _("Owner"), by_owner()),
            _chart("folder", _("By folder"), _("Folder, with what is below"), by_folder(request_user(request))),
        ],
    }
    return TemplateResponse(request, "admin/storage.html", {**context, **dashboard})


def _chart(name: str, title: str, column: str, shares: list[Share]) -> dict[str, Any]:
    return {"name": name, "title": title, "column": column, "shares": shares, "bars": bars(shares)}
