"""Verify stored objects against their rows, and update the checksum status."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from uploads import s3
from uploads.management.arguments import bytes_per_second, integer
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.output import JSONDocument, Progress
from uploads.management.shutdown import Stop, graceful_shutdown, stopped
from uploads.models import File, Report, RunOutcome
from uploads.services.verify import (
    Run,
    Selection,
    by_ids,
    differences,
    least_recent,
    unverified,
    unverified_checksums,
)

MAX_THREADS = 32
MAX_FILES = 10**12
MAX_PAUSE_SECONDS = 86_400
FRACTION = re.compile(r"(\d{1,6})/(\d{1,6})")


class Command(AmalgaCommand):
    help = "Verify the checksums of stored files."
    epilog = """
    Reads files and computes their checksums: those never verified, or the selected ones. Several
    runs can work at once. Archived files are skipped. If more than ten files and more than 1 %
    of all are missing, it stops without recording them: the bucket may be the wrong one.

    Changes:        the checksum status, and of imported files the checksum and detected type.
    Never changes:  objects, names and folders.

    Exit codes:
      0  all files are intact, or stopped with --every
      1  corrupted, missing or failed files, or stopped
      2  refused, or invalid options

    Example:
      manage.py verify --sample 1/30 --rate 50M
    """
    json_keys = {
        "verified": "files whose checksum is right",
        "unchanged": "files whose size, ETag and checksum are unchanged (with --metadata-only)",
        "corrupted": "files whose checksum or size is wrong",
        "missing": "files without an object",
        "etag_mismatch": "files whose checksum is right, but whose ETag changed",
        "archived": "archived files, which were skipped",
        "refused": "files that the storage denies access to",
        "failed": "files that could not be verified",
        "problems": "list of files that are not intact: file, key, outcome",
        "error": "why the command ended early",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        selection = parser.add_argument_group("selection (default: files that were never verified)")
        selection.add_argument("ids", nargs="*", type=UUID, metavar="ID", help="only these files")
        selection.add_argument("--all", action="store_true", help="all files, the least recently verified first")
        selection.add_argument(
            "--sample",
            type=_fraction,
            metavar="1/30",
            help="this fraction of all files: 1/30 a night is all in a month",
        )
        method = parser.add_argument_group("method")
        method.add_argument(
            "--metadata-only", action="store_true", help="compare size, ETag and checksum, and read only what differs"
        )
        method.add_argument(
            "--max-missing", type=integer(0, MAX_FILES), metavar="N", help="record up to N files as missing"
        )
        speed = parser.add_argument_group("speed and schedule")
        speed.add_argument(
            "--rate", type=bytes_per_second, metavar="BYTES", help="bytes per second at most: 500k, 50M, 1G"
        )
        speed.add_argument(
            "--parallel", type=integer(1, MAX_THREADS), default=4, metavar="N", help="files at once (default: 4)"
        )
        speed.add_argument(
            "--every", type=integer(0, MAX_PAUSE_SECONDS), metavar="SECONDS",
            help="verify new files again after this pause, until stopped",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        _validate_options(options)
        self._document: JSONDocument | None = None
        with graceful_shutdown() as stop:
            if options["every"] is not None:
                self._loop(stop, options)
            elif self.as_json:
                with self.json_document("problems") as self._document:
                    self._once(stop, options)
            else:
                self._once(stop, options)

    def _loop(self, stop: Stop, options: dict[str, Any]) -> None:
        """Verify claimed checksums until stopped. While database or storage are unavailable, it keeps trying."""
        limiter = s3.RateLimiter(options["rate"], stop=lambda: stop.requested)
        while not stop.requested:
            with self.tolerate_database_errors("verify"):
                self._verify_claims(options, limiter)
            stop.pause(max(1, options["every"]))

    def _verify_claims(self, options: dict[str, Any], limiter: s3.RateLimiter) -> None:
        run = Run(
            unverified_checksums(),
            parallel=options["parallel"],
            limiter=limiter,
            max_missing=options["max_missing"],
        )
        run.run()
        if run.refusal is not None:
            self.stderr.write(f"verify: {run.refusal.message}")

    def _once(self, stop: Stop, options: dict[str, Any]) -> None:
        with report_errors("Results so far are saved. Run this command again later."):
            candidates, scope = _candidates(options)
            with _report(scope) as report:
                self._verify(stop, options, candidates, report)

    def _verify(self, stop: Stop, options: dict[str, Any], candidates: Selection, report: Report | None) -> None:
        limiter = s3.RateLimiter(options["rate"], stop=lambda: stop.requested)
        total_bytes = None if options["metadata_only"] else candidates.total_bytes
        with Progress(
            self.stderr, "verify", total=candidates.total, total_bytes=total_bytes, quiet=self.as_json
        ) as progress:
            run = Run(
                candidates, level=1 if options["metadata_only"] else 2, parallel=options["parallel"], limiter=limiter,
                report=report, max_missing=options["max_missing"], on_problem=self._print,
                on_tick=lambda done: progress.step(done - progress.done, bytes=limiter.bytes - progress.bytes),
            )  # fmt: skip
            counts = run.run()
        if report is not None:
            reason = {"reason": run.refusal.message} if run.refusal else {}
            report.end(_outcome(run), **counts, bytes=limiter.bytes, **reason)
        self._end(run, counts)

    def _end(self, run: Run, counts: Counter[str]) -> None:
        if self._document:
            self._document.end(counts)
        else:
            self.write_values(counts)
        if run.refusal is not None:
            raise CommandRefused(run.refusal.message)
        if run.stopped:
            raise stopped()
        if run.storage_unavailable:
            message = "Storage is unavailable. Results so far are saved. Run this command again later to continue."
            raise CommandError(message, returncode=1)
        if count := differences(counts):
            raise CommandError(f"{count:,} {'file is' if count == 1 else 'files are'} not intact.", returncode=1)

    def _print(self, outcome: str, file: File) -> None:
        if self._document:
            self._document.add({"file": file.pk, "key": file.key, "outcome": outcome})
        else:
            self.stdout.write(f"{outcome}: {file.pk} ({file.key})")


@contextmanager
def _report(scope: str) -> Iterator[Report | None]:
    """Yield a new report, and end it as stopped on errors, unless the database is unavailable."""
    report = Report.objects.create(command="verify", scope=scope) if scope else None
    try:
        yield report
    except BaseException:
        if report is not None and report.outcome == RunOutcome.RUNNING:
            with suppress(DatabaseError):
                report.end(RunOutcome.STOPPED)
        raise


def _validate_options(options: dict[str, Any]) -> None:
    chosen = [name for name in ("ids", "all", "sample") if options[name]]
    if len(chosen) > 1:
        raise CommandRefused("Give only one of: IDs, --all or --sample.")
    if options["every"] is not None and (chosen or options["metadata_only"]):
        message = "--every cannot be combined with IDs, --all, --sample or --metadata-only."
        raise CommandRefused(message)
    if options["metadata_only"] and options["sample"]:
        raise CommandRefused("--metadata-only always checks all files, so --sample is not allowed.")


def _candidates(options: dict[str, Any]) -> tuple[Selection, str]:
    """Return the files and the scope for the report. Single files and unverified uploads have no report: ""."""
    ids = options["ids"]
    if ids:
        available = set(File.objects.available().filter(pk__in=ids).values_list("pk", flat=True))
        if unknown := set(ids) - available:
            raise CommandRefused(f"No available file with ID {', '.join(sorted(map(str, unknown)))}.")
        return by_ids(ids), ""
    if options["sample"]:
        return least_recent(options["sample"]), f"{options['sample']} of all files"
    if options["metadata_only"]:
        return least_recent(), "metadata of all files"
    if options["all"]:
        return least_recent(), "all files"
    return unverified(), ""


def _outcome(run: Run) -> RunOutcome:
    if run.refusal is not None:
        return RunOutcome.REFUSED
    if run.stopped or run.storage_unavailable:
        return RunOutcome.STOPPED
    return RunOutcome.DIFFERENCES if differences(run.counts) else RunOutcome.SUCCEEDED


def _fraction(text: str) -> Fraction:
    match = FRACTION.fullmatch(text)
    if not match or not 0 < int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be a fraction between 0 and 1, such as 1/30, not “{text}”")
    return Fraction(int(match[1]), int(match[2]))
