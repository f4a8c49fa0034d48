"""Move files from one storage to another during operation."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.errors import Problem, StorageUnavailable
from uploads.management.base import AmalgaCommand, Progress, bytes_per_second, integer, translate_errors, until_stopped
from uploads.models import File, Refusal, Report, RunOutcome
from uploads.services import move_store as service
from uploads.services.bucket_guard import ensure_marker, require_marker, require_removal

MAX_PARALLEL = 64
MAX_HOURS = 10**5
# Outcomes of files that are not moved, which are printed.
PRINTED_OUTCOMES = {"corrupted", "missing", "changed", "taken", "failed", *Refusal.values}
EXPLANATIONS = {
    "corrupted": "its bytes are not the announced ones (--corrupted moves it as it is)",
    "missing": "its bytes are not there (--corrupted moves the row alone)",
    "changed": "it was overwritten since it was brought in: import it again",
    "taken": "the main store has another object at this key: see whose it is",
    "archived": "its storage has to restore it first (aws s3api restore-object)",
    "encrypted": "its storage keeps it under a key that Amalga cannot use",
    "denied": "its storage denies access to it: see its policy",
    "failed": "could not be copied and verified now: run again",
}


class Command(AmalgaCommand):
    help = (
        "Moves files and previews from the store of SECONDARY_S3_* to that of AWS_*, one by one: the object is copied, "
        "the copy verified against the row's checksum, and only then the row switched; people read and upload "
        "meanwhile. Without --apply it only says what there is to do. Uploads under way end where they began and are "
        "moved by the next run; corrupted and missing files stay unless requested. Nothing is removed from the other "
        "store but with --remove-originals, which removes objects whose rows have moved long enough ago; imported "
        "objects and what has no row stay there; with --imported, imported ones go whose copy bears our mark, and "
        "which are still what was copied. Several may run at once. Exit status: 0 nothing is left to do, 1 something "
        "is left or failed, 2 refused: there is no second store, or a bucket belongs to another database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="do it; without it nothing is written")
        parser.add_argument(
            "--parallel", type=integer(1, MAX_PARALLEL), default=4, metavar="N", help="copies at once (default: 4)"
        )
        parser.add_argument(
            "--rate",
            type=bytes_per_second,
            metavar="50M",
            help="at most so many bytes a second through here: 500k, 50M",
        )
        parser.add_argument(
            "--corrupted", action="store_true", help="also files that are corrupted or missing, as they are"
        )
        parser.add_argument("--remove-originals", action="store_true", help="clear the other store of what has moved")
        parser.add_argument(
            "--older-than", type=integer(1, MAX_HOURS), default=24, metavar="HOURS",
            help="originals of rows untouched for so long (24), so that links that were given out have ended",
        )  # fmt: skip
        parser.add_argument(
            "--imported", action="store_true", help="also originals that were imported (with --remove-originals)"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        _validate_options(options)
        with until_stopped(), translate_errors("Run this again later."):
            source, target = service.both_stores()
            _require_markers(source.name, apply=options["apply"])
            if options["apply"]:
                service.require_two_buckets()
            route = f"{_quoted(source.name)} → {_quoted(target.name)}"
            if options["remove_originals"]:
                if options["apply"]:
                    require_removal()
                self._clear(route, options)
            else:
                self._move(route, options)

    def _move(self, route: str, options: dict[str, Any]) -> None:
        plan = service.plan_move(unfit=options["corrupted"])
        if not options["apply"]:
            self._end(f"move_store {route}: {_plan_text(plan)}", {"applied": False, **asdict(plan)}, options)
            if plan.remaining or plan.elsewhere:
                raise CommandError("There is something to move; --apply does it.", returncode=1)
            return
        report = Report.objects.create(command="move_store", scope=route)
        counts: Counter[str] = Counter()
        try:
            self._move_each(plan, counts, options)
        except BaseException:
            report.end(RunOutcome.STOPPED, **counts)
            raise
        remaining = service.plan_move(unfit=options["corrupted"])
        is_done = not (remaining.remaining or remaining.elsewhere)
        report.end(RunOutcome.SUCCEEDED if is_done else RunOutcome.DIFFERENCES, **counts, remaining=asdict(remaining))
        line = f"move_store {route}: {_counts_text(counts)}; left there: {_plan_text(remaining)}"
        self._end(line, {"applied": True, **counts, "remaining": asdict(remaining)}, options)
        if not is_done:
            raise CommandError("Not everything has moved; run it again.", returncode=1)

    def _move_each(self, plan: service.MovePlan, counts: Counter[str], options: dict[str, Any]) -> None:
        mover = service.Mover(
            parallel=options["parallel"], bytes_per_second=options["rate"], unfit=options["corrupted"]
        )
        total = plan.files + plan.previews
        results = mover.run()
        with (
            contextlib.closing(results),
            Progress(
                self.stderr, "move_store", total=total, total_bytes=plan.bytes or None, quiet=options["json"]
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
        suffix = "" if options["apply"] else " (nothing was removed)"
        line = f"move_store {route}, originals{suffix}: {_counts_text(counts)}"
        self._end(line, {"applied": options["apply"], **counts}, options)
        if not is_done:
            raise CommandError(
                "There are originals left." if options["apply"] else "--apply removes what is counted as removed.",
                returncode=1,
            )

    def _clear_each(self, counts: Counter[str], options: dict[str, Any]) -> None:
        results = service.remove_originals(
            apply=options["apply"], hours=options["older_than"], imported=options["imported"],
            parallel=options["parallel"],
        )  # fmt: skip
        with contextlib.closing(results), Progress(self.stderr, "originals", quiet=options["json"]) as progress:
            for removal in results:
                counts[removal.outcome] += 1
                counts["bytes"] += removal.size if removal.outcome == "removed" else 0
                progress.step()
                if removal.outcome in {"orphan", "failed"} or (removal.outcome == "kept" and options["imported"]):
                    self.stderr.write(f"{removal.outcome}: {removal.key}")

    def _end(self, line: str, result: dict[str, Any], options: dict[str, Any]) -> None:
        if options["json"]:
            self.write_json(result)
        else:
            self.stdout.write(line)


def _validate_options(options: dict[str, Any]) -> None:
    if options["imported"] and not options["remove_originals"]:
        raise CommandError("--imported goes with --remove-originals.", returncode=2)


def _require_markers(source: str, *, apply: bool) -> None:
    """Raise unless both buckets belong to this database. With `apply`, an unmarked target gets the marker."""
    try:
        require_marker(source)
    except Problem as problem:
        if isinstance(problem, StorageUnavailable):
            raise
        raise CommandError(
            f"The store of SECONDARY_S3_BUCKET: {problem.message} (Mark it while it is the main store, with AWS_* and "
            "SECONDARY_S3_* the other way round.)",
            returncode=2,
        ) from None
    (ensure_marker if apply else require_marker)()


def _quoted(name: str) -> str:
    return f"“{name}”"


def _plan_text(plan: service.MovePlan) -> str:
    return (
        f"{plan.files} files ({plan.bytes} bytes), {plan.previews} previews; {plan.unfit} corrupted or missing, "
        f"{plan.in_progress} uploads under way or being erased, {plan.elsewhere} in a store that no variable names"
    )


def _counts_text(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing"
