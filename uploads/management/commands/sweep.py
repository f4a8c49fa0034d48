"""Expire uploads, purge the trash and erase objects that are due."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from uploads import services
from uploads.management.base import AmalgaCommand, Stop, graceful_shutdown, integer, stopped, translate_errors

# The time limit of one sweep in a loop, with or without work left: the next one starts with what is due by then.
MAX_SECONDS = 300.0
MAX_PAUSE_SECONDS = 86_400


class Command(AmalgaCommand):
    help = (
        "Expires uploads whose time is over, ends assemblies that a crash left behind, purges the trash when it is "
        "due, erases the objects and rows of what must go, and removes half-made previews of files in the trash, "
        "until nothing is due any more. Once an hour it aborts uploads in parts that are open under f/ for more "
        "than a day and belong to no file; only in a bucket with our marker. Not touched: available files, trash "
        "that is not due, uploads that have time, the objects of imported files, objects without a file, and keys "
        "that do not begin with f/ or p/. In a bucket without our marker nothing at all is removed, and no row is "
        "given up (provision makes the marker); nor with PURGE_PAUSED=on, nor when the bucket remembers what the "
        "database does not know, because that was restored to an earlier moment (see after_restore). Once a minute "
        "at most it notes in the bucket, as amalga-checkpoint.json, how far the database has come. Several may run at "
        "once and share the work. A row that fails is tried again later and stops no other. Exit status: 0 done, or"
        " stopped in a loop; 1 some rows failed, or it was stopped, or the database is away; 2 refused: something "
        "is due in a bucket that is not ours, or the database is older than its bucket."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--every",
            type=integer(1, MAX_PAUSE_SECONDS),
            metavar="SECONDS",
            help="go on until stopped, with this pause between sweeps",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object for each sweep")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PURGE_PAUSED:
            self.stderr.write("sweep: PURGE_PAUSED is on: nothing is expired, purged or erased until it is removed")
        with graceful_shutdown() as stop:
            if options["every"] is None:
                self._once(stop, as_json=options["json"])
                return
            while not stop.requested:
                self._sweep_in_loop(stop, as_json=options["json"])
                stop.pause(options["every"])

    def _once(self, stop: Stop, *, as_json: bool) -> None:
        refusals: list[str] = []
        with translate_errors("Nothing is lost."):
            counts = services.sweep(should_continue=lambda: not stop.requested, on_refusal=refusals.append)
        self._print(counts, as_json=as_json)
        if stop.requested:
            raise stopped()
        if refusals:
            raise CommandError(" ".join(refusals), returncode=2)
        if counts["failed"]:
            raise CommandError("Some rows are left for the next sweep; the log says why (sweep_failed).", returncode=1)

    def _sweep_in_loop(self, stop: Stop, *, as_json: bool) -> None:
        """Sweep once in a loop. An unavailable database is reported, and the next sweep tries again."""
        end = time.monotonic() + MAX_SECONDS
        with self.tolerate_database_errors("sweep"):
            counts = services.sweep(
                should_continue=lambda: not stop.requested and time.monotonic() < end,
                on_refusal=lambda why: self.stderr.write(f"sweep: {why}"),
            )
            if counts.total():
                self._print(counts, as_json=as_json)

    def _print(self, counts: Counter[str], *, as_json: bool) -> None:
        if as_json:
            self.write_json(counts)
            return
        text = ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))
        self.stdout.write(f"sweep: {text or 'nothing to do'}")
