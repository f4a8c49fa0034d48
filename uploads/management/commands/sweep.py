"""Do everything whose time has come."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection

from uploads import services


class Command(BaseCommand):
    help = (
        "Expires uploads whose time is over, ends assemblies that a crash left behind, purges the "
        "trash when it is due, and erases the objects and rows of what must go. Available files and "
        "trash that is not due are not touched. Several may run at once. Exit status: 0 done, 1 some "
        "rows failed and are left for the next time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=int, metavar="SECONDS", help="go on until stopped, with this pause")
        parser.add_argument("--json", action="store_true", help="one JSON object for each sweep")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["every"] is None:
            counts = services.sweep()
            self._tell(counts, as_json=options["json"])
            if counts["failed"]:
                raise CommandError("Some rows are left for the next sweep.", returncode=1)
            return
        while True:
            self._sweep_and_go_on(as_json=options["json"])
            time.sleep(max(1, options["every"]))

    def _sweep_and_go_on(self, *, as_json: bool) -> None:
        """In a loop, a database that is away is waited for, not died of."""
        try:
            counts = services.sweep()
        except DatabaseError as fault:
            self.stderr.write(f"sweep: the database is away ({type(fault).__name__})")
            connection.close()
            return
        if counts.total():
            self._tell(counts, as_json=as_json)

    def _tell(self, counts: Counter[str], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(counts))
            return
        told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        self.stdout.write(f"sweep: {told or 'nothing to do'}")
