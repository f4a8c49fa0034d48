"""Import objects that are already in the bucket as files."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.humanize import humanize_bytes
from uploads.management.base import AmalgaCommand, Progress, find_user, integer, translate_errors, until_stopped
from uploads.models import Origin, Usage, Visibility
from uploads.names import clean_folder
from uploads.services.imports import BATCH_KEYS, WRITERS, ImportStats, Plan, Step, import_objects, plan_import

MAX_REPORTED = 100
MAX_WRITERS = 16
ADVICE = "What was imported stays. Run this again to continue."
PREFIX_HELP = (
    "what the keys begin with, like photos/2024/; it is not repeated in the folders. An empty one, '', means all that "
    "is not Amalga's own"
)


class Command(AmalgaCommand):
    help = (
        "Makes files of the objects whose keys begin with PREFIX: nothing is copied, no object is read, changed or "
        "moved. Without --apply it only says what it would do. Folders come from the parts of the keys, names are "
        "cleaned as those of uploads. A key that has a file already is left alone, so it may be run again, and two at "
        "once; a run that was stopped goes on where it was. What was purged since, and whose object is there, "
        "comes back as a new file, seen by whom --visibility says. The objects of such files are never removed, unless "
        "--adopt says that they are Amalga's from now on: then they go when their file is purged from the trash. "
        "The owner's quota does not stop an import; how much of it is used is told. Checksums are not known until "
        "`manage.py verify` has read the files. Exit status: 0 done, 1 some objects cannot be files (they are listed), "
        "or it was stopped; 2 refused, or nothing begins with PREFIX."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", metavar="PREFIX", help=PREFIX_HELP)
        parser.add_argument("--owner", required=True, metavar="USERNAME", help="whose files they become")
        parser.add_argument("--folder", default="", metavar="PATH", help="where they go (default: the top)")
        parser.add_argument(
            "--visibility", choices=Visibility.values, default=Visibility.TEAM, help="who sees them (default: team)"
        )
        parser.add_argument("--adopt", action="store_true", help="the objects become Amalga's to remove one day")
        parser.add_argument("--apply", action="store_true", help="do it; without it nothing is written")
        parser.add_argument(
            "--parallel",
            type=integer(1, MAX_WRITERS),
            default=WRITERS,
            metavar="N",
            help=f"connections that write (default: {WRITERS})",
        )
        parser.add_argument(
            "--json", action="store_true", help="a JSON line for each object that cannot be a file, and one at the end"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with translate_errors(ADVICE):
            plan = _plan(options)
            steps = import_objects(plan, writers=options["parallel"]) if options["apply"] else plan_import(plan)
            with until_stopped(), closing(steps):
                step = self._consume(steps, plan, options)
            self._conclude(step, plan, options)

    def _consume(self, steps: Generator[Step], plan: Plan, options: dict[str, Any]) -> Step:
        step = Step(ImportStats(), [], [])
        with Progress(self.stderr, "import_bucket", quiet=options["json"]) as progress:
            for step in steps:
                self._print(step, plan, as_json=options["json"])
                progress.step(step.stats.objects - progress.done)
        return step

    def _print(self, step: Step, plan: Plan, *, as_json: bool) -> None:
        if as_json:
            for key, reason in step.refused:
                self.write_json({"rejected": key, "reason": reason})
            return
        if not step.stats.objects and step.after:
            self.stdout.write(f"Going on after {step.after}, where the last run was stopped.")
        if step.stats.objects <= BATCH_KEYS:
            for candidate in step.examples:
                self.stdout.write(
                    f"{candidate.key} → {'/'.join(filter(None, [plan.folder, candidate.folder, candidate.name]))}"
                )
        printed = step.stats.refused - len(step.refused)
        for key, reason in step.refused[: max(0, MAX_REPORTED - printed)]:
            self.stdout.write(f"{key!r} cannot be a file: {reason}")

    def _conclude(self, step: Step, plan: Plan, options: dict[str, Any]) -> None:
        stats = step.stats
        if options["json"]:
            scope = {"prefix": plan.prefix, "owner": plan.owner.get_username(), "folder": plan.folder}
            self.write_json({"applied": options["apply"], "after": step.after, **scope, **asdict(stats)})
        else:
            self._print_stats(stats, plan, applied=options["apply"])
        if not stats.objects and not step.after:
            raise CommandError(f"No object has a key that begins with {plan.prefix!r}.", returncode=2)
        if stats.refused:
            raise CommandError(f"{stats.refused:,} objects cannot be files.", returncode=1)

    def _print_stats(self, stats: ImportStats, plan: Plan, *, applied: bool) -> None:
        if stats.refused > MAX_REPORTED:
            self.stdout.write(f"… and {stats.refused - MAX_REPORTED:,} more; --json tells all of them.")
        self.stdout.write(
            f"import_bucket: {stats.objects:,} objects; {stats.files:,} "
            f"{'became files' if applied else 'would become files'} ({humanize_bytes(stats.bytes)}), "
            f"{stats.known:,} are files already, {stats.empty_folders:,} stand for empty folders, "
            f"{stats.own:,} are Amalga's own, {stats.refused:,} cannot be files"
        )
        if stats.archived:
            self.stdout.write(
                f"{stats.archived:,} of them are archived: they cannot be opened until the storage has restored them "
                "(`aws s3api restore-object`, docs/operate/operations.md)."
            )
        usage = Usage.objects.filter(owner=plan.owner).first() or Usage()
        would_be = usage.bytes + (0 if applied else stats.bytes)
        self.stdout.write(
            f"{plan.owner.get_username()} {'uses' if applied else 'would use'} {humanize_bytes(would_be)} of "
            f"{humanize_bytes(usage.max_bytes)}; over that, this person cannot upload, but may have more."
        )
        if not applied:
            self.stdout.write("Nothing was written; --apply does it.")
        elif stats.files:
            self.stdout.write("`manage.py previews` has their previews made, `manage.py verify` reads and checks them.")


def _plan(options: dict[str, Any]) -> Plan:
    owner = find_user(options["owner"])
    if not owner.has_perm("uploads.add_file"):
        raise CommandError(f"{owner} may not upload: choose another owner, or give this one a role.", returncode=2)
    return Plan(
        prefix=options["prefix"],
        owner=owner,
        folder=clean_folder(options["folder"]),
        visibility=Visibility(options["visibility"]),
        origin=Origin.ADOPTED if options["adopt"] else Origin.IMPORTED,
    )
