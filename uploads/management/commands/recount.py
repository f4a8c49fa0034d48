"""Compare the statistics with the rows, and correct them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.management.base import AmalgaCommand, translate_errors, until_stopped
from uploads.services.recount import Difference, recount

MAX_REPORTED = 100


class Command(AmalgaCommand):
    help = (
        "Counts files, bytes and tags anew and tells where the kept figures differ from them. With --apply the "
        "figures are repaired. Files, folders, tags, people and the bucket are never touched; people may go on working "
        "meanwhile. Exit status: 0 all figures agree, or did before and were repaired; 1 there are differences, or "
        "the database is away."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="repair the figures; without it nothing is written")
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), translate_errors("Nothing was changed. Run this again later."):
            differences = recount(apply=options["apply"])
        if options["json"]:
            items = [asdict(difference) for difference in differences]
            self.write_json({"differences": items, "applied": options["apply"]})
        else:
            self._print(differences, applied=options["apply"])
        if differences and not options["apply"]:
            raise CommandError("The figures differ from the rows; --apply repairs them.", returncode=1)

    def _print(self, differences: list[Difference], *, applied: bool) -> None:
        for item in differences[:MAX_REPORTED]:
            self.stdout.write(
                f"{item.kind} {item.key or '-'} {item.status}: stored {item.stored_files} files, "
                f"{item.stored_bytes} bytes; counted {item.files} files, {item.bytes} bytes"
            )
        if len(differences) > MAX_REPORTED:
            self.stdout.write(f"… and {len(differences) - MAX_REPORTED} more")
        self.stdout.write(f"recount: {len(differences)} differences{', repaired' if differences and applied else ''}")
