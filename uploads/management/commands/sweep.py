"""Expire uploads, purge the trash and erase objects that are due."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from uploads.management.arguments import integer
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.shutdown import Stop, graceful_shutdown, stopped
from uploads.services.sweep import sweep

# The time limit of one sweep in a loop, with or without work left: the next one starts with what is due by then.
MAX_SECONDS = 300.0
MAX_PAUSE_SECONDS = 86_400


class Command(AmalgaCommand):
    help = "Expire uploads, purge the trash, and clean up after crashes."
    epilog = """
    Deletes nothing in a bucket without this database's marker (run `provision`), with
    PURGE_PAUSED=on, or after a restore (run `after_restore`). Several can run at once and share
    the work. A file that fails is retried by a later sweep.

    Changes:        expires unfinished uploads, completes or reopens interrupted ones, purges the
                    trash when its retention period has ended, deletes the rows and objects of
                    purged files, and hourly aborts orphaned multipart uploads under f/ that are
                    older than a day. Writes amalga-checkpoint.json at most once a minute.
    Never changes:  available files, objects of imported files, orphans, and keys outside of
                    f/ and p/.

    Exit codes:
      0  done, or stopped with --every
      1  some files failed, storage or database unavailable, or the command was stopped
      2  refused: the bucket belongs to another database, or is newer than the database

    Example:
      manage.py sweep --every 60
    """
    json_keys = {
        "expired": "uploads that expired",
        "resolved": "interrupted uploads that were completed, reopened or given up",
        "purged": "files that were purged from the trash",
        "erased": "files whose rows and objects were deleted",
        "aborted": "orphaned multipart uploads that were aborted",
        "previews": "unfinished previews of trashed files that were deleted",
        "failed": "files that are left for the next sweep",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        schedule = parser.add_argument_group("schedule")
        schedule.add_argument(
            "--every",
            type=integer(1, MAX_PAUSE_SECONDS),
            metavar="SECONDS",
            help="sweep again after this pause, until stopped (default: sweep once)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PURGE_PAUSED:
            self.stderr.write("sweep: PURGE_PAUSED is on. Nothing is expired or deleted until you remove it.")
        with graceful_shutdown() as stop:
            if options["every"] is None:
                self._once(stop)
                return
            while not stop.requested:
                self._sweep_in_loop(stop)
                stop.pause(options["every"])

    def _once(self, stop: Stop) -> None:
        refusals: list[str] = []
        with report_errors("Run this command again later."):
            counts = sweep(should_continue=lambda: not stop.requested, on_refusal=refusals.append)
        self.write_values(self._all_counts(counts))
        if stop.requested:
            raise stopped()
        if refusals:
            raise CommandRefused(" ".join(refusals))
        if counts["failed"]:
            raise CommandError(
                "Some files are left for the next sweep. See sweep_failed in the log for the reason.", returncode=1
            )

    def _sweep_in_loop(self, stop: Stop) -> None:
        """Sweep once in a loop. An unavailable database is reported, and the next sweep tries again."""
        end = time.monotonic() + MAX_SECONDS
        with self.tolerate_database_errors("sweep"):
            counts = sweep(
                should_continue=lambda: not stop.requested and time.monotonic() < end,
                on_refusal=lambda reason: self.stderr.write(f"sweep: {reason}"),
            )
            if counts.total():
                self._print_line(counts)

    def _print_line(self, counts: Counter[str]) -> None:
        if self.as_json:
            self.write_json(self._all_counts(counts))
        else:
            self.stdout.write(f"sweep: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")

    def _all_counts(self, counts: Counter[str]) -> dict[str, int]:
        return {name: counts[name] for name in self.json_keys}
