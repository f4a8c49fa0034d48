"""Compare the statistics with the rows, and correct them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.management.base import AmalgaCommand, report_errors
from uploads.management.shutdown import until_stopped
from uploads.services.recount import Difference, recount

MAX_REPORTED = 100
COLUMNS = ("kind", "key", "status", "stored files", "stored bytes", "files", "bytes")


class Command(AmalgaCommand):
    help = "Compare the statistics with the files, and correct them."
    epilog = """
    Counts files, bytes and tags, and compares them with the stored counters. People can keep
    working. Safe to repeat.

    Changes:        with --apply: the counters.
    Never changes:  files, folders, tags, people and objects.

    Exit codes:
      0  no differences, or all were corrected
      1  differences, or the database is unavailable

    Example:
      manage.py recount --apply
    """
    json_keys = {
        "applied": "whether --apply was given",
        "count": "number of counters that differ",
        "differences": "list of counters: kind, key, status, stored_files, stored_bytes, files, bytes",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        changes = parser.add_argument_group("changes")
        changes.add_argument("--apply", action="store_true", help="correct the counters (default: only report)")

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), report_errors("Nothing was changed. Run this command again later."):
            differences = recount(apply=options["apply"])
        if self.as_json:
            items = [asdict(difference) for difference in differences]
            self.write_json({"applied": options["apply"], "count": len(items), "differences": items})
        else:
            self._print(differences, applied=options["apply"])
        if differences and not options["apply"]:
            raise CommandError("The statistics differ from the files. Run again with --apply.", returncode=1)

    def _print(self, differences: list[Difference], *, applied: bool) -> None:
        rows = (
            (item.kind, item.key, item.status, item.stored_files, item.stored_bytes, item.files, item.bytes)
            for item in differences[:MAX_REPORTED]
        )
        self.write_table(COLUMNS, rows)
        if len(differences) > MAX_REPORTED:
            self.stdout.write(f"… and {len(differences) - MAX_REPORTED:,} more (use --json to see all)")
        self.write_values({"applied": applied, "differences": len(differences)})
