"""Ask for the previews of files that have none."""

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
            asked = self._ask(failed=options["failed"])
        self.stdout.write(f"previews: asked for those of {asked} files")

    def _ask(self, *, failed: bool) -> int:
        if failed:
            delete_failed()
        asked, last = 0, UUID(int=0)
        while ids := self._after(last):
            services.request_previews(ids)
            asked, last = asked + len(ids), ids[-1]
        return asked

    def _after(self, last: UUID) -> list[UUID]:
        rows = File.objects.available().filter(CAN_HAVE_PREVIEW, pk__gt=last, size__gt=0, previews__isnull=True)
        return list(rows.order_by("pk").values_list("pk", flat=True)[:FILES_PER_TASK])
