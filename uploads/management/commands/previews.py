"""Enqueue the previews of files that have none."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from uploads import services
from uploads.management.base import AmalgaCommand, report_errors
from uploads.management.shutdown import until_stopped
from uploads.models import File
from uploads.models.querysets import in_batches
from uploads.services.previews import CAN_HAVE_PREVIEW, delete_failed

FILES_PER_TASK = 500


class Command(AmalgaCommand):
    help = "Enqueue previews for files that have none."
    epilog = """
    For imported files, and for files whose tasks were lost. The worker makes the previews.
    Safe to repeat: a preview that is enqueued twice is made once.

    Changes:        adds tasks to the queue; with --retry-failed, deletes failed previews.
    Never changes:  files, objects and finished previews.

    Exit codes:
      0  enqueued
      1  the database is unavailable, or the command was stopped

    Example:
      manage.py previews --retry-failed
    """
    json_keys = {"files": "number of files whose previews were enqueued"}

    def add_arguments(self, parser: CommandParser) -> None:
        selection = parser.add_argument_group("selection")
        selection.add_argument("--retry-failed", action="store_true", help="include files whose previews failed")

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), report_errors("Enqueued previews stay enqueued. Run this command again later."):
            count = self._enqueue(retry_failed=options["retry_failed"])
        self.write_values({"files": count})

    def _enqueue(self, *, retry_failed: bool) -> int:
        if retry_failed:
            delete_failed()
        count = 0
        rows = File.objects.available().filter(CAN_HAVE_PREVIEW, size__gt=0, previews__isnull=True, quarantined=False)
        for files in in_batches(rows.only("pk"), FILES_PER_TASK):
            services.request_previews([file.pk for file in files])
            count += len(files)
        return count
