"""Enqueue the documents whose text is not searchable yet."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.shutdown import until_stopped
from uploads.models import FileContent
from uploads.services.contents import request_contents, unindexed
from uploads.services.task_queue import enqueue_batches


class Command(AmalgaCommand):
    help = "Enqueue the documents whose text is not searchable yet."
    epilog = """
    For files from before CONTENT_SEARCH was turned on, for imported files, and after a restore from
    a manifest. The worker reads the files. Safe to repeat: a file that is enqueued twice is read once.

    Changes:        adds tasks to the queue; with --retry-failed, forgets which files have no text.
    Never changes:  files, objects and texts.

    Exit codes:
      0  enqueued
      1  the database is unavailable, or the command was stopped
      2  refused: CONTENT_SEARCH is off

    Example:
      manage.py index_contents --retry-failed
    """
    json_keys = {"files": "number of files that were enqueued"}

    def add_arguments(self, parser: CommandParser) -> None:
        selection = parser.add_argument_group("selection")
        selection.add_argument("--retry-failed", action="store_true", help="include files whose text could not be read")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.CONTENT_SEARCH:
            raise CommandRefused("CONTENT_SEARCH is off. Turn it on to search in the text of documents.")
        with until_stopped(), report_errors("Enqueued files stay enqueued. Run this command again later."):
            if options["retry_failed"]:
                FileContent.objects.exclude(reason="").delete()
            count = enqueue_batches(unindexed(), request_contents)
        self.write_values({"files": count})
