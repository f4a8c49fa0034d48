"""Find differences between bucket and database, and repair those that are safe to repair."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads import s3
from uploads.management.arguments import integer
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.output import JSONDocument, Progress
from uploads.management.shutdown import until_stopped
from uploads.models import Finding, FindingKind, Report, RunOutcome
from uploads.services.fsck import GRACE_SECONDS, RunObserver, Scope, fsck
from uploads.services.fsck.repair import repair

MAX_PRINTED = 1000
FINDINGS_KEPT = "The findings so far are saved. Run again with --resume to continue."
REPAIRS_KEPT = "Repairs so far are saved. Run this command again to continue."
MAX_PREFIX_CHARACTERS = 1000
MAX_AGE_SECONDS = 10 * 365 * 24 * 3600
MAX_REPAIRS = 10**12


class Command(AmalgaCommand):
    help = "Find and repair differences between bucket and database."
    epilog = """
    Compares all keys in order, and checks each difference twice. Equal SHA-256 digests of both
    sides prove that they are in sync. People can keep working, and several runs with their own
    --prefix can share a large bucket. --repair works on the findings of a complete run with the
    same options in the last 24 hours, and checks each of them again.

    Changes:        its report. With --repair: completes finished uploads, marks files as missing
                    or present, enqueues lost previews, and moves orphans to quarantine/.
    Never changes:  other objects. Wrong sizes and ETags, unknown keys, and orphaned multipart
                    uploads are only reported.

    Exit codes:
      0  in sync, or everything was repaired
      1  differences, or stopped, or storage or database unavailable
      2  refused

    Example:
      manage.py fsck && manage.py fsck --repair --max-repairs 20
    """
    json_keys = {
        "findings": "list of differences: kind, key, file, and details; with --repair: kind, key, outcome",
        "report": "number of the report, which the admin shows",
        "in_sync": "whether bucket and database are in sync",
        "since": "key after which this run resumed: the totals are those of the keys after it",
        "rows": "totals of the database: count, bytes, sha256",
        "objects": "totals of the bucket: count, bytes, sha256",
        "skipped": (
            "objects and rows that were not compared, by reason: young (younger than --min-age), moving (being "
            "uploaded or deleted), changed (during the check), elsewhere (being moved to or from another storage), "
            "marked (already marked as missing), others (outside of f/ and p/)"
        ),
        "totals": "number of findings of each kind",
        "seconds": "duration of the run",
        "repaired": "findings that this run repaired (only with --repair)",
        "remaining": "findings that are not repaired (only with --repair)",
        "error": "why the run ended early",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        selection = parser.add_argument_group("selection")
        selection.add_argument("--prefix", default="", help="only keys that begin with this, such as f/0")
        selection.add_argument(
            "--storage",
            default=s3.main_store().name,
            metavar="NAME",
            help="compare this storage (default: the one for new files)",
        )
        selection.add_argument(
            "--min-age", type=_seconds, default=GRACE_SECONDS, metavar="SECONDS",
            help=f"ignore what is younger (default: {GRACE_SECONDS})",
        )  # fmt: skip
        selection.add_argument("--resume", action="store_true", help="continue the last run, if it was stopped")
        selection.add_argument(
            "--allow-empty-database", action="store_true", help="compare even if the database has no files"
        )
        repairs = parser.add_argument_group("repair")
        repairs.add_argument("--repair", action="store_true", help="repair the findings of the last complete run")
        repairs.add_argument(
            "--max-repairs", type=integer(0, MAX_REPAIRS), metavar="N",
            help="refuse if there are more findings to repair (default: 1 %% of the rows)",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        self._finding_count = 0
        self._document: JSONDocument | None = None
        scope = _scope(options)
        if not self.as_json:
            self._run(scope, options)
            return
        with self.json_document("findings") as self._document:
            self._run(scope, options)

    def _run(self, scope: Scope, options: dict[str, Any]) -> None:
        advice = REPAIRS_KEPT if options["repair"] else FINDINGS_KEPT
        with until_stopped(advice), report_errors(advice):
            if options["repair"]:
                self._repair(scope, options["max_repairs"])
            else:
                self._compare(scope, options)

    def _compare(self, scope: Scope, options: dict[str, Any]) -> None:
        with Progress(self.stderr, "fsck", quiet=self.as_json) as progress:
            observer = RunObserver(self._print, progress.step)
            report = fsck(
                scope, observer, resume=options["resume"], allow_empty_database=options["allow_empty_database"]
            )
        if not self.as_json and self._finding_count > MAX_PRINTED:
            self.stdout.write(f"… and {self._finding_count - MAX_PRINTED:,} more in report {report.pk}")
        self._end(_values(report))
        if report.outcome != RunOutcome.SUCCEEDED:
            count = report.findings.count()
            raise CommandError(
                f"Found {count:,} {'difference' if count == 1 else 'differences'} (report {report.pk}).", returncode=1
            )

    def _repair(self, scope: Scope, max_repairs: int | None) -> None:
        result = repair(scope, max_repairs=max_repairs, on_result=self._print_repair)
        self._end({"report": result.report.pk, "repaired": result.repaired, "remaining": result.remaining})
        if result.remaining:
            raise CommandError(
                f"{result.remaining:,} findings of report {result.report.pk} are not repaired.", returncode=1
            )

    def _print_repair(self, finding: Finding, outcome: str) -> None:
        if self._document:
            self._document.add({"kind": finding.kind, "key": finding.key, "outcome": outcome})
        else:
            self.stdout.write(f"{finding.kind}: {finding.key}: {outcome}")

    def _print(self, finding: Finding) -> None:
        self._finding_count += 1
        if self._document:
            self._document.add({"kind": finding.kind, "key": finding.key, "file": finding.file_id, **finding.detail})
        elif self._finding_count <= MAX_PRINTED:
            file = f" (file {finding.file_id})" if finding.file_id else ""
            self.stdout.write(f"{finding.kind}: {finding.key}{file}: {FindingKind(finding.kind).label}")

    def _end(self, values: dict[str, Any]) -> None:
        if self._document:
            self._document.end(values)
        else:
            self.write_values(values)


def _values(report: Report) -> dict[str, Any]:
    values = dict(report.summary)
    totals = values.pop("findings")
    since = values.pop("since", None)
    return {
        "report": report.pk,
        "in_sync": report.outcome == RunOutcome.SUCCEEDED,
        **({"since": since} if since else {}),
        **values,
        "totals": totals,
    }


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < MAX_AGE_SECONDS:
        raise argparse.ArgumentTypeError(f"must be a number of seconds between 0 and {MAX_AGE_SECONDS:,}, not “{text}”")
    return seconds


def _scope(options: dict[str, Any]) -> Scope:
    prefix, store = options["prefix"], options["storage"]
    if len(prefix) > MAX_PREFIX_CHARACTERS or "\0" in prefix:
        raise CommandRefused("--prefix must be the beginning of a key.")
    secondary = s3.secondary_store()
    if store not in {s3.main_store().name, secondary.name if secondary else None}:
        raise CommandRefused(f"No storage named “{store}”. Set SECONDARY_S3_STORE_NAME, or leave --storage out.")
    return Scope(store, prefix, grace=options["min_age"])
