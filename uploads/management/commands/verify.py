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
from uploads.management.base import (
    AmalgaCommand,
    Progress,
    Stop,
    bytes_per_second,
    graceful_shutdown,
    integer,
    stopped,
    translate_errors,
)
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
FRACTION = re.compile(r"(\d{1,6})/(\d{1,6})")


class Command(AmalgaCommand):
    help = (
        "Holds stored objects against their rows. Level 2, the default, reads the bytes and computes the checksum "
        "anew: of files that were never checked (uploads whose checksum is only announced, and imported files), of "
        "those that are named, of all, or of a sample. Level 1 only asks the store for size, ETag and checksum of each "
        "file, and reads what differs. Each file is then noted as verified, corrupted or missing, with the date; one "
        "that is good again as verified. Corrupted files are kept. A file that the store refuses to give out is noted "
        "with the reason, and left out until --all, --level 1 or its id asks for it; archived ones are counted, which "
        "is no failure. Sets checksum_status, refusal, verified_at, and of imported files that were never read the "
        "checksum and the detected type; no object, no name and no other row is touched. Several may run at once; they "
        "may read the same file. In a bucket with the marker of another database nothing is read, and without ours no "
        "file is called missing or corrupted; nor when more than ten files and more than one in a hundred are missing, "
        "unless --expect-missing says that many are. Exit status: 0 all agree, or stopped in a loop; 1 differences or "
        "failures, or it was stopped; 2 refused, or a named file is not there, or the options make no sense."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=UUID, help="these files only, checked before or not")
        parser.add_argument("--all", action="store_true", help="all files, those first that were not read for longest")
        parser.add_argument(
            "--sample", type=_fraction, metavar="1/30",
            help="this part of all files, the least recently read first: 1/30 a night reads all in a month",
        )  # fmt: skip
        parser.add_argument("--level", type=int, choices=(1, 2), default=2, help="1: ask the store, 2: read the bytes")
        parser.add_argument(
            "--rate", type=bytes_per_second, metavar="50M", help="read at most so many bytes a second: 500k, 50M, 1G"
        )
        parser.add_argument(
            "--parallel", type=integer(1, MAX_THREADS), default=4, metavar="N", help="files at once, 4 by default"
        )
        parser.add_argument(
            "--expect-missing",
            type=integer(0, MAX_FILES),
            metavar="N",
            help="so many files are lost indeed: call them missing",
        )
        parser.add_argument("--every", type=int, metavar="SECONDS", help="settle claims until stopped, with this pause")
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        _validate_options(options)
        with graceful_shutdown() as stop:
            if options["every"] is not None:
                self._loop(stop, options)
                return
            with translate_errors("What is done stays done. Run this again later."):
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
            expect_missing=options["expect_missing"],
        )
        run.run()
        if run.refusal is not None:
            self.stderr.write(f"verify: {run.refusal.message}")

    def _once(self, stop: Stop, options: dict[str, Any]) -> None:
        candidates, scope = _candidates(options)
        with _report(scope) as report:
            self._check_heads(stop, options, candidates, report)

    def _check_heads(self, stop: Stop, options: dict[str, Any], candidates: Selection, report: Report | None) -> None:
        limiter = s3.RateLimiter(options["rate"], stop=lambda: stop.requested)
        total_bytes = candidates.total_bytes if options["level"] == 2 else None
        with Progress(
            self.stderr, "verify", total=candidates.total, total_bytes=total_bytes, quiet=options["json"]
        ) as progress:
            run = Run(
                candidates, level=options["level"], parallel=options["parallel"], limiter=limiter, report=report,
                expect_missing=options["expect_missing"],
                on_problem=self._silent if options["json"] else self._print,
                on_tick=lambda done: progress.step(done - progress.done, bytes=limiter.bytes - progress.bytes),
            )  # fmt: skip
            counts = run.run()
        if report is not None:
            reason = {"reason": run.refusal.message} if run.refusal else {}
            report.end(_outcome(run), **counts, bytes=limiter.bytes, **reason)
        self._end(run, counts, as_json=options["json"])

    def _end(self, run: Run, counts: Counter[str], *, as_json: bool) -> None:
        if as_json:
            self.write_json(counts)
        else:
            self.stdout.write(", ".join(f"{n} {what}" for what, n in counts.items()))
        if run.refusal is not None:
            raise CommandError(run.refusal.message, returncode=2)
        if run.stopped:
            raise stopped()
        if run.storage_unavailable:
            message = "The store does not answer. What is done stays done; run it again later to go on."
            raise CommandError(message, returncode=1)
        if differences(counts):
            raise CommandError("Not every file agrees with its row.", returncode=1)

    def _print(self, outcome: str, file: File) -> None:
        self.stdout.write(f"{outcome}: {file.pk} ({file.key})")

    def _silent(self, outcome: str, file: File) -> None:
        return


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
        raise CommandError("Choose one: ids, --all or --sample.", returncode=2)
    if options["every"] is not None and (chosen or options["level"] == 1):
        message = "--every settles claims; it goes with neither ids, --all, --sample nor --level 1."
        raise CommandError(message, returncode=2)
    if options["level"] == 1 and options["sample"]:
        message = "--level 1 only asks the store, which is quick: it looks at all files, not at a sample."
        raise CommandError(message, returncode=2)


def _candidates(options: dict[str, Any]) -> tuple[Selection, str]:
    """Return the files and the scope for the report. Single files and claimed checksums have no report: ""."""
    level, ids = options["level"], options["ids"]
    if ids:
        available = set(File.objects.available().filter(pk__in=ids).values_list("pk", flat=True))
        if unknown := set(ids) - available:
            raise CommandError(f"No available file: {', '.join(sorted(map(str, unknown)))}", returncode=2)
        return by_ids(ids), ""
    if options["sample"]:
        return least_recent(options["sample"]), f"level 2, {options['sample']} of all"
    if options["all"] or level == 1:
        return least_recent(), f"level {level}, all"
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
        raise argparse.ArgumentTypeError(f"{text!r} is no part of a whole, such as 1/30")
    return Fraction(int(match[1]), int(match[2]))
