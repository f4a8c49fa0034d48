"""Enqueue the malware check of files."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.shutdown import until_stopped
from uploads.models import File, ScanStatus
from uploads.models.querysets import FileQuerySet
from uploads.services import malware
from uploads.services.malware import unscanned
from uploads.services.task_queue import enqueue_batches


class Command(AmalgaCommand):
    help = "Check files for malware."
    epilog = """
    Adds the files that wait for their check to the queue. The worker checks them.
    Files that were not checked before stay available while they wait.

    Changes:        adds tasks to the queue. A file that is infected is moved to quarantine.
    Never changes:  objects and names.

    Exit codes:
      0  enqueued
      1  the database is unavailable, or the command was stopped
      2  refused: MALWARE_SCANNER is not set

    Example:
      manage.py scan --failed
    """
    json_keys = {"files": "number of files that were enqueued"}

    def add_arguments(self, parser: CommandParser) -> None:
        selection = parser.add_argument_group("selection").add_mutually_exclusive_group()
        selection.add_argument("--all", action="store_true", help="all files, also those from before the check was on")
        selection.add_argument("--failed", action="store_true", help="files that could not be checked")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.MALWARE_SCANNER:
            raise CommandRefused("MALWARE_SCANNER is not set.")
        with until_stopped(), report_errors("Enqueued checks stay enqueued. Run this command again later."):
            count = enqueue_batches(self._files(options), malware.request_scans)
        self.write_values({"files": count})

    def _files(self, options: dict[str, Any]) -> FileQuerySet:
        if options["all"]:
            return File.objects.available()
        return File.objects.available().filter(scan_status=ScanStatus.FAILED) if options["failed"] else unscanned()
