"""Enqueue the previews of files that have none."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from uploads import services
from uploads.management.base import AmalgaCommand, translate_errors, until_stopped
from uploads.models import File
from uploads.models.querysets import in_batches
from uploads.services.previews import CAN_HAVE_PREVIEW, delete_failed

FILES_PER_TASK = 500


class Command(AmalgaCommand):
    help = (
        "Puts every available file that could be shown and has no preview into the worker's queue: files from before "
        "there were previews, or whose requests were lost for longer than the sweep looks back. No object and no file "
        "is touched; what is in the queue already is asked for again, and made once. Exit status: 0; 1 the "
        "database is away, or it was stopped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--failed", action="store_true", help="also try files again that could not be shown")

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), translate_errors("What is queued stays queued. Run this again later."):
            count = self._enqueue(failed=options["failed"])
        self.stdout.write(f"previews: asked for those of {count} files")

    def _enqueue(self, *, failed: bool) -> int:
        if failed:
            delete_failed()
        count = 0
        rows = File.objects.available().filter(CAN_HAVE_PREVIEW, size__gt=0, previews__isnull=True)
        for files in in_batches(rows.only("pk"), FILES_PER_TASK):
            services.request_previews([file.pk for file in files])
            count += len(files)
        return count
