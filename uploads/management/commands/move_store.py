"""Move files from one storage to another during operation."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.errors import Problem, StorageUnavailable
from uploads.management.arguments import bytes_per_second, integer
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.output import Progress
from uploads.management.shutdown import until_stopped
from uploads.models import File, Refusal, Report, RunOutcome
from uploads.services import move_store as service
from uploads.services.bucket_guard import ensure_marker, require_marker, require_removal
from uploads.services.move_store import rows

MAX_PARALLEL = 64
MAX_HOURS = 10**5
# Outcomes of files that are not moved, which are printed.
PRINTED_OUTCOMES = {"corrupted", "missing", "changed", "taken", "failed", *Refusal.values}
EXPLANATIONS = {
    "corrupted": "checksum mismatch (--include-corrupted moves it anyway)",
    "missing": "object not found (--include-corrupted moves its row)",
    "changed": "object changed since it was imported. Import it again.",
    "taken": "the main storage has another object with this key. Find out who wrote it.",
    "archived": "archived. Restore it first (aws s3api restore-object).",
    "encrypted": "encrypted with a key that Amalga cannot use",
    "denied": "access denied. Check the bucket policy.",
    "failed": "could not be copied and verified. Run this command again.",
}


class Command(AmalgaCommand):
    help = "Move files from the secondary storage to the main storage."
    epilog = """
    From the bucket of SECONDARY_S3_* to that of AWS_*. Each file is copied and verified before
    its row is switched; people can keep working. Several runs can share the work. Uploads in
    progress end where they began: run it again for these.

    Changes:        with --apply: copies files and previews, and switches their rows. With
                    --remove-originals: deletes moved originals from the secondary storage.
    Never changes:  originals, without --remove-originals; imported ones, without
                    --include-imported; and objects without a row.

    Exit codes:
      0  everything has moved
      1  something is left or failed
      2  refused: no secondary storage, or a bucket belongs to another database

    Example:
      manage.py move_store --apply --rate 50M
    """
    json_keys = {
        "route": "names of both storages",
        "applied": "whether --apply was given",
        "files": "files to move (without --apply)",
        "previews": "previews to move (without --apply)",
        "unfit": "corrupted or missing files, which stay without --include-corrupted",
        "in_progress": "uploads in progress, and files that are being deleted",
        "elsewhere": "files in a storage that no setting names",
        "bytes": "size of the files to move; with --apply, of what was moved or deleted",
        "outcomes": (
            "number of files and previews, or of originals, by outcome: moved, unchanged, corrupted, missing, changed, "
            "taken, archived, encrypted, denied, failed; removed, kept, young, here, orphan, gone"
        ),
        "remaining": "not moved yet: files, bytes, previews, unfit, in_progress, elsewhere",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        changes = parser.add_argument_group("changes")
        changes.add_argument("--apply", action="store_true", help="move or delete (default: only report)")
        changes.add_argument("--include-corrupted", action="store_true", help="also move corrupted and missing files")
        originals = parser.add_argument_group("originals")
        originals.add_argument("--remove-originals", action="store_true", help="delete moved originals, move nothing")
        originals.add_argument(
            "--older-than", type=integer(1, MAX_HOURS), default=24, metavar="HOURS",
            help="only if the file was not changed for this long (default: 24)",
        )  # fmt: skip
        originals.add_argument("--include-imported", action="store_true", help="also delete imported originals")
        speed = parser.add_argument_group("speed")
        speed.add_argument(
            "--parallel", type=integer(1, MAX_PARALLEL), default=4, metavar="N", help="copies at once (default: 4)"
        )
        speed.add_argument(
            "--rate", type=bytes_per_second, metavar="BYTES", help="bytes per second at most: 500k, 50M, 1G"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _validate_options(options)
        with until_stopped(), report_errors("Run this command again later."):
            source, target = rows.both_stores()
            _require_markers(source.name, apply=options["apply"])
            if options["apply"]:
                rows.require_two_buckets()
            route = f"{_quoted(source.name)} → {_quoted(target.name)}"
            if options["remove_originals"]:
                if options["apply"]:
                    require_removal()
                self._clear(route, options)
            else:
                self._move(route, options)

    def _move(self, route: str, options: dict[str, Any]) -> None:
        plan = rows.plan_move(unfit=options["include_corrupted"])
        if not options["apply"]:
            self.write_values({"route": route, "applied": False, **asdict(plan)})
            if plan.remaining or plan.elsewhere:
                raise CommandError("Nothing was moved. Run again with --apply.", returncode=1)
            return
        report = Report.objects.create(command="move_store", scope=route)
        counts: Counter[str] = Counter()
        try:
            self._move_each(plan, counts, options)
        except BaseException:
            report.end(RunOutcome.STOPPED, **counts)
            raise
        remaining = rows.plan_move(unfit=options["include_corrupted"])
        is_done = not (remaining.remaining or remaining.elsewhere)
        report.end(RunOutcome.SUCCEEDED if is_done else RunOutcome.DIFFERENCES, **counts, remaining=asdict(remaining))
        self.write_values({"route": route, "applied": True, **_outcomes(counts), "remaining": asdict(remaining)})
        if not is_done:
            raise CommandError("Some files have not moved. Run this command again.", returncode=1)

    def _move_each(self, plan: rows.MovePlan, counts: Counter[str], options: dict[str, Any]) -> None:
        mover = service.Mover(
            parallel=options["parallel"], bytes_per_second=options["rate"], unfit=options["include_corrupted"]
        )
        total = plan.files + plan.previews
        results = mover.run()
        with (
            contextlib.closing(results),
            Progress(
                self.stderr, "move_store", total=total, total_bytes=plan.bytes or None, quiet=self.as_json
            ) as progress,
        ):
            for moved in results:
                counts[moved.outcome] += 1
                counts["bytes"] += moved.bytes
                progress.step(bytes=moved.bytes)
                if moved.outcome in PRINTED_OUTCOMES and isinstance(moved.row, File):
                    self.stderr.write(
                        f"{moved.outcome}: {moved.row.pk} ({moved.row.key}): {EXPLANATIONS[moved.outcome]}"
                    )

    def _clear(self, route: str, options: dict[str, Any]) -> None:
        """Remove originals, printing orphans, failures and what `--imported` keeps; the rest is only counted."""
        report = Report.objects.create(command="move_store", scope=f"{route}: originals")
        counts: Counter[str] = Counter(removed=0, bytes=0)
        try:
            self._clear_each(counts, options)
        except BaseException:
            report.end(RunOutcome.STOPPED, **counts)
            raise
        is_done = not (counts["failed"] or counts["here"] or counts["young"])
        if not options["apply"]:
            is_done = is_done and not counts["removed"]
        report.end(RunOutcome.SUCCEEDED if is_done else RunOutcome.DIFFERENCES, applied=options["apply"], **counts)
        self.write_values({"route": route, "applied": options["apply"], **_outcomes(counts)})
        if not is_done:
            raise CommandError(
                "Some originals are left. Run this command again later."
                if options["apply"]
                else "Nothing was deleted. Run again with --apply.",
                returncode=1,
            )

    def _clear_each(self, counts: Counter[str], options: dict[str, Any]) -> None:
        results = service.remove_originals(
            apply=options["apply"], hours=options["older_than"], imported=options["include_imported"],
            parallel=options["parallel"],
        )  # fmt: skip
        with contextlib.closing(results), Progress(self.stderr, "originals", quiet=self.as_json) as progress:
            for removal in results:
                counts[removal.outcome] += 1
                counts["bytes"] += removal.size if removal.outcome == "removed" else 0
                progress.step()
                if removal.outcome in {"orphan", "failed"} or (
                    removal.outcome == "kept" and options["include_imported"]
                ):
                    self.stderr.write(f"{removal.outcome}: {removal.key}")


def _validate_options(options: dict[str, Any]) -> None:
    if options["include_imported"] and not options["remove_originals"]:
        raise CommandRefused("--include-imported needs --remove-originals.")


def _require_markers(source: str, *, apply: bool) -> None:
    """Raise unless both buckets belong to this database. With `apply`, an unmarked target gets the marker."""
    try:
        require_marker(source)
    except Problem as problem:
        if isinstance(problem, StorageUnavailable):
            raise
        raise CommandRefused(
            f"The bucket of SECONDARY_S3_BUCKET: {problem.message} To mark it, swap AWS_* and SECONDARY_S3_*, and run "
            "`manage.py provision --apply`.",
        ) from None
    (ensure_marker if apply else require_marker)()


def _quoted(name: str) -> str:
    return f"“{name}”"


def _outcomes(counts: Counter[str]) -> dict[str, Any]:
    return {
        "bytes": counts["bytes"],
        "outcomes": {outcome: count for outcome, count in sorted(counts.items()) if outcome != "bytes"},
    }
