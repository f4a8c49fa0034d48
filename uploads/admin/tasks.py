"""The worker's task queue in the admin, read-only. There can be a task for every file ever uploaded."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy
from django_tasks_db.admin import DBTaskResultAdmin
from django_tasks_db.models import DBTaskResult

from uploads.admin.base import LargeTableAdmin

admin.site.unregister(DBTaskResult)


@admin.register(DBTaskResult)
class TaskAdmin(LargeTableAdmin, DBTaskResultAdmin):
    list_filter = ("status",)  # type: ignore[assignment]
    empty_text = gettext_lazy("The worker's tasks appear here after the first upload.")
    sortable_by = ()
    actions = None
