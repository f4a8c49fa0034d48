"""Compare the kept totals with the rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.management.base import AmalgaCommand
from uploads.management.cli import database_error_message, until_stopped
from uploads.services.recount import Difference, recount

MAX_REPORTED = 100


class Command(AmalgaCommand):
    help = (
        "Counts files, bytes and tags anew and tells where the kept figures differ from them. With --apply the "
        "figures are mended. Files, folders, tags, people and the bucket are never touched; people may go on working "
        "meanwhile. Exit status: 0 all figures agree, or did before and were mended; 1 there are differences, or "
        "the database is away."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="mend the figures; without it nothing is written")
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), database_error_message("Nothing was mended; run it again when it is back."):
            found = recount(apply=options["apply"])
        if options["json"]:
            told = [asdict(one) for one in found]
            self.stdout.write(json.dumps({"differences": told, "applied": options["apply"]}))
        else:
            self._print(found, applied=options["apply"])
        if found and not options["apply"]:
            raise CommandError("The figures differ from the rows; --apply mends them.", returncode=1)

    def _print(self, found: list[Difference], *, applied: bool) -> None:
        for one in found[:MAX_REPORTED]:
            self.stdout.write(
                f"{one.kind} {one.key or '-'} {one.status}: kept {one.kept_files} files, {one.kept_bytes} bytes; "
                f"counted {one.files} files, {one.bytes} bytes"
            )
        if len(found) > MAX_REPORTED:
            self.stdout.write(f"… and {len(found) - MAX_REPORTED} more")
        self.stdout.write(f"recount: {len(found)} differences{', mended' if found and applied else ''}")
