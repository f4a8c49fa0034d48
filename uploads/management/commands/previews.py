"""Enqueue the previews that files do not have yet."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from uploads import services
from uploads.management.base import AmalgaCommand, report_errors
from uploads.management.shutdown import until_stopped
from uploads.models import File
from uploads.services.previews import CAN_HAVE_PREVIEW, documents_without_pages, reset_failed
from uploads.services.task_queue import enqueue_batches


class Command(AmalgaCommand):
    help = "Enqueue missing previews."
    epilog = """
    For imported files, for files whose tasks were lost, and for documents of which an earlier
    version made the first page only. The worker makes the previews, and those of further pages
    last.
    Safe to repeat: a preview that is enqueued twice is made once.

    Changes:        adds tasks to the queue; with --retry-failed, deletes or resets failed previews.
    Never changes:  files, objects and finished previews.

    Exit codes:
      0  enqueued
      1  the database is unavailable, or the command was stopped

    Example:
      manage.py previews --retry-failed
    """
    json_keys = {
        "files": "number of files whose previews were enqueued",
        "documents": "number of documents whose further pages were enqueued",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        selection = parser.add_argument_group("selection")
        selection.add_argument("--retry-failed", action="store_true", help="include files whose previews failed")

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), report_errors("Enqueued previews stay enqueued. Run this command again later."):
            if options["retry_failed"]:
                reset_failed()
            rows = File.objects.available().filter(CAN_HAVE_PREVIEW, size__gt=0, quarantined=False)
            counts = {
                "files": enqueue_batches(rows.filter(previews__isnull=True), services.request_previews),
                "documents": enqueue_batches(documents_without_pages(), services.request_pages),
            }
        self.write_values(counts)
