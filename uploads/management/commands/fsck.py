"""Find differences between bucket and database, and repair those that are safe to repair."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads import s3
from uploads.management.base import AmalgaCommand, Progress, translate_errors, until_stopped
from uploads.models import Finding, FindingKind, Report, RunOutcome
from uploads.services.fsck import GRACE_SECONDS, RunObserver, Scope, describe_unrepaired, fsck, repair

MAX_REPORTED = 1000
FINDINGS_KEPT = "What was found is kept; --resume goes on from there."
REPAIRS_KEPT = "What is repaired stays repaired; run it again to go on."
MAX_PREFIX_CHARACTERS = 1000
MAX_GRACE_SECONDS = 10 * 365 * 24 * 3600


class Command(AmalgaCommand):
    help = (
        "Lists the bucket and reads the rows in the order of their keys, compares them, and tells every difference: "
        "missing objects, objects without a file, wrong sizes and ETags, files that should have moved on, uploads in "
        "parts without a file, keys under f/ and p/ that are not ours. Each is looked at twice before it is told; what "
        "is younger than --grace is left alone. Ends with count, bytes and one SHA-256 of each side: equal ones prove "
        "that both agree. Nothing is changed but the report, which the admin shows. People may go on working. Several "
        "may run at once, also each with a --prefix of its own (f/0 to f/f and p/): so a hundred million objects are "
        "compared. With --repair, and only after such a run of the same scope in the last 24 hours, what it found is "
        "looked at again and repaired where that is provable: finished uploads are published, files without an object "
        "marked as missing, and unmarked when it is back, lost previews made again, and objects without a file moved "
        "to quarantine/, copied before they go. No other object is removed, none is overwritten; sizes, ETags, foreign "
        "keys and multipart uploads are reported, not repaired. Exit status: 0 both agree, or all is repaired; 1 "
        "differences, or it was stopped; 2 refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--prefix", default="", help="only keys that begin so, like f/0 (default: all that is ours)"
        )
        parser.add_argument("--store", default=s3.main_store().name, help="another store than the one new files go to")
        parser.add_argument(
            "--grace",
            type=_seconds,
            default=GRACE_SECONDS,
            metavar="SECONDS",
            help="what is younger is left alone (3600)",
        )
        parser.add_argument("--resume", action="store_true", help="go on where the last run of this scope was stopped")
        parser.add_argument(
            "--expect-empty-database", action="store_true", help="compare even though the database has no files"
        )
        parser.add_argument("--repair", action="store_true", help="repair what the last complete run found")
        parser.add_argument(
            "--confirm", type=int, metavar="N", help="with --repair: yes, so many, though it is over 1 %% of the rows"
        )
        parser.add_argument("--json", action="store_true", help="findings as JSON lines, then one object with figures")

    def handle(self, *args: Any, **options: Any) -> None:
        self._json = options["json"]
        self._finding_count = 0
        advice = REPAIRS_KEPT if options["repair"] else FINDINGS_KEPT
        scope = _scope(options)
        with until_stopped(advice), translate_errors(advice):
            if options["repair"]:
                self._repair(scope, options["confirm"])
            else:
                self._compare(scope, options)

    def _compare(self, scope: Scope, options: dict[str, Any]) -> None:
        with Progress(self.stderr, "fsck", quiet=self._json) as progress:
            observer = RunObserver(self._print, progress.step)
            report = fsck(
                scope, observer, resume=options["resume"], allow_empty_database=options["expect_empty_database"]
            )
        self._conclude(report)

    def _repair(self, scope: Scope, confirmed: int | None) -> None:
        result = repair(scope, confirmed=confirmed, on_result=self._print_repairs)
        if self._json:
            self.write_json({"report": result.report.pk, "repaired": result.repaired, "remaining": result.remaining})
        else:
            self.stdout.write(f"fsck: {result.repaired:,} repaired, {result.remaining:,} left as they are")
        if result.remaining:
            raise CommandError(
                f"{result.remaining:,} findings of report {result.report.pk} are not repaired.", returncode=1
            )

    def _print_repairs(self, finding: Finding, outcome: str) -> None:
        if self._json:
            self.write_json({"kind": finding.kind, "key": finding.key, "outcome": outcome})
        else:
            self.stdout.write(f"{finding.kind}: {finding.key}: {outcome}")

    def _print(self, finding: Finding) -> None:
        self._finding_count += 1
        if self._json:
            item = {"kind": finding.kind, "key": finding.key, "file": finding.file_id, **finding.detail}
            self.write_json(item)
        elif self._finding_count <= MAX_REPORTED:
            file = f" (file {finding.file_id})" if finding.file_id else ""
            self.stdout.write(f"{finding.kind}: {finding.key}{file}: {FindingKind(finding.kind).label}")

    def _conclude(self, report: Report) -> None:
        is_in_sync = report.outcome == RunOutcome.SUCCEEDED
        if self._json:
            self.write_json({"report": report.pk, "outcome": report.outcome, **report.summary})
        else:
            self._print_stats(report)
        if not is_in_sync:
            raise CommandError(f"{report.findings.count():,} differences; report {report.pk} keeps them.", returncode=1)

    def _print_stats(self, report: Report) -> None:
        if self._finding_count > MAX_REPORTED:
            self.stdout.write(f"… and {self._finding_count - MAX_REPORTED:,} more in report {report.pk}.")
        if since := report.summary.get("since"):
            self.stdout.write(f"The figures are of what comes behind {since}, where the run before was stopped.")
        for side in ("rows", "objects"):
            totals = report.summary[side]
            self.stdout.write(
                f"{side:8} {totals['count']:>13,} {totals['bytes']:>20,} bytes  sha256 {totals['sha256']}"
            )
        for why in describe_unrepaired(report.summary["skipped"]):
            self.stdout.write(why)
        if report.outcome == RunOutcome.SUCCEEDED:
            self.stdout.write("Bucket and database agree.")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < MAX_GRACE_SECONDS:
        raise ValueError(text)
    return seconds


def _scope(options: dict[str, Any]) -> Scope:
    prefix, store = options["prefix"], options["store"]
    if len(prefix) > MAX_PREFIX_CHARACTERS or "\0" in prefix:
        raise CommandError("--prefix is no beginning of a key.", returncode=2)
    secondary = s3.secondary_store()
    if store not in {s3.main_store().name, secondary.name if secondary else None}:
        raise CommandError(f"The settings know no store {store!r}: see SECONDARY_S3_STORE_NAME.", returncode=2)
    return Scope(store, prefix, grace=options["grace"])
