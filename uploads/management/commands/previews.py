"""Enqueue the previews of files that have none."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from uploads import services
from uploads.management.base import AmalgaCommand
from uploads.management.cli import database_error_message, until_stopped
from uploads.models import File
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
        with until_stopped(), database_error_message("What is asked for stays so; run it again when it is back."):
            count = self._enqueue(failed=options["failed"])
        self.stdout.write(f"previews: asked for those of {count} files")

    def _enqueue(self, *, failed: bool) -> int:
        if failed:
            delete_failed()
        count, last = 0, UUID(int=0)
        while ids := self._next_ids(last):
            services.request_previews(ids)
            count, last = count + len(ids), ids[-1]
        return count

    def _next_ids(self, last: UUID) -> list[UUID]:
        rows = File.objects.available().filter(CAN_HAVE_PREVIEW, pk__gt=last, size__gt=0, previews__isnull=True)
        return list(rows.order_by("pk").values_list("pk", flat=True)[:FILES_PER_TASK])
