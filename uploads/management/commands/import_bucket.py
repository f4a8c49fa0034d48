"""Import objects that are already in the bucket as files."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.management.arguments import find_user, integer
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.output import JSONDocument, Progress
from uploads.management.shutdown import until_stopped
from uploads.models import Origin, Usage, Visibility
from uploads.names import clean_folder
from uploads.services.imports import (
    BATCH_KEYS,
    WRITERS,
    ImportPlan,
    ImportProgress,
    ImportStats,
    import_objects,
    plan_import,
)

MAX_REPORTED = 100
MAX_WRITERS = 16
ADVICE = "Imported files are kept. Run this command again to continue."


class Command(AmalgaCommand):
    help = "Register existing objects as files, without copying them."
    epilog = """
    Folders come from the keys, after PREFIX. Safe to repeat: keys that already have a file are
    skipped, and a stopped import continues. A file whose row was purged comes back as a new
    file. The owner's quota does not stop an import. Checksums are unknown until `verify` has read
    the files; `previews` enqueues their previews.

    Changes:        with --apply: creates files and folders.
    Never changes:  objects. They are never deleted, unless --adopt was given: then they are
                    deleted when their files are purged from the trash.

    Exit codes:
      0  done
      1  some objects cannot become files, or the command was stopped
      2  refused, or no key begins with PREFIX

    Example:
      manage.py import_bucket photos/2024/ --owner ann --folder Archive --apply
    """
    json_keys = {
        "rejected": "list of objects that cannot become files: key, reason",
        "applied": "whether --apply was given",
        "after": "key after which a stopped import continued, or empty",
        "prefix": "PREFIX",
        "owner": "owner of the files",
        "folder": "folder of the files",
        "objects": "number of objects",
        "files": "objects that became files",
        "bytes": "size of these files",
        "known": "objects that already have a file",
        "empty_folders": "objects that stand for an empty folder",
        "own": "objects of Amalga, which are skipped",
        "refused": "number of rejected objects",
        "archived": "files whose objects are archived: the storage must restore them before they can be opened",
        "quota_used_bytes": "storage that the owner uses after the import",
        "quota_bytes": "the owner's quota",
        "error": "why the command ended early",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        selection = parser.add_argument_group("selection")
        selection.add_argument(
            "prefix", metavar="PREFIX", help="beginning of the keys, such as photos/2024/; '' means all keys"
        )
        files = parser.add_argument_group("files")
        files.add_argument("--owner", required=True, metavar="USERNAME", help="owner of the files")
        files.add_argument("--folder", default="", metavar="PATH", help="folder of the files (default: top level)")
        files.add_argument(
            "--visibility", choices=Visibility.values, default=Visibility.TEAM, help="who sees them (default: team)"
        )
        files.add_argument("--adopt", action="store_true", help="let Amalga delete the objects with their files")
        changes = parser.add_argument_group("changes")
        changes.add_argument("--apply", action="store_true", help="create the files (default: only report)")
        changes.add_argument(
            "--parallel", type=integer(1, MAX_WRITERS), default=WRITERS, metavar="N",
            help=f"database connections that write (default: {WRITERS})",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        self._document: JSONDocument | None = None
        with report_errors(ADVICE):
            plan = _plan(options)
        if not self.as_json:
            self._run(plan, options)
            return
        with self.json_document("rejected") as self._document:
            self._run(plan, options)

    def _run(self, plan: ImportPlan, options: dict[str, Any]) -> None:
        steps = import_objects(plan, writers=options["parallel"]) if options["apply"] else plan_import(plan)
        with report_errors(ADVICE):
            with until_stopped(), closing(steps):
                step = self._consume(steps, plan)
            self._conclude(step, plan, applied=options["apply"])

    def _consume(self, steps: Generator[ImportProgress], plan: ImportPlan) -> ImportProgress:
        step = ImportProgress(ImportStats(), [], [])
        with Progress(self.stderr, "import_bucket", quiet=self.as_json) as progress:
            for step in steps:
                self._print(step, plan)
                progress.step(step.stats.objects - progress.done)
        return step

    def _print(self, step: ImportProgress, plan: ImportPlan) -> None:
        if self._document:
            for key, reason in step.refused:
                self._document.add({"key": key, "reason": reason})
            return
        if not step.stats.objects and step.after:
            self.stdout.write(f"Continuing after {step.after}, where the last run was stopped.")
        if step.stats.objects <= BATCH_KEYS:
            for candidate in step.examples:
                path = "/".join(filter(None, [plan.folder, candidate.folder, candidate.name]))
                self.stdout.write(f"{candidate.key} → {path}")
        printed = step.stats.refused - len(step.refused)
        for key, reason in step.refused[: max(0, MAX_REPORTED - printed)]:
            self.stdout.write(f"rejected: {key}: {reason}")

    def _conclude(self, step: ImportProgress, plan: ImportPlan, *, applied: bool) -> None:
        stats = step.stats
        if not self._document and stats.refused > MAX_REPORTED:
            self.stdout.write(f"… and {stats.refused - MAX_REPORTED:,} more (use --json to see all)")
        values = {**_scope(step, plan, applied=applied), **asdict(stats), **_quota(stats, plan, applied=applied)}
        if self._document:
            self._document.end(values)
        else:
            self.write_values(values)
            if stats.archived:
                self.stdout.write(f"{stats.archived:,} archived: restore them first (`aws s3api restore-object`)")
        if not stats.objects and not step.after:
            raise CommandRefused(f"No key begins with “{plan.prefix}”.")
        if stats.refused:
            raise CommandError(f"{stats.refused:,} objects cannot become files.", returncode=1)
        if not applied and not self._document:
            self.stderr.write("Nothing was written. Run again with --apply.")


def _scope(step: ImportProgress, plan: ImportPlan, *, applied: bool) -> dict[str, Any]:
    owner = plan.owner.get_username()
    return {"applied": applied, "after": step.after, "prefix": plan.prefix, "owner": owner, "folder": plan.folder}


def _quota(stats: ImportStats, plan: ImportPlan, *, applied: bool) -> dict[str, int]:
    usage = Usage.objects.filter(owner=plan.owner).first() or Usage()
    used = usage.bytes + (0 if applied else stats.bytes)
    return {"quota_used_bytes": used, "quota_bytes": usage.max_bytes}


def _plan(options: dict[str, Any]) -> ImportPlan:
    owner = find_user(options["owner"])
    if not owner.has_perm("uploads.add_file"):
        raise CommandRefused(
            f"“{owner}” does not have permission to upload. Choose another owner, or give this one a role.",
        )
    return ImportPlan(
        prefix=options["prefix"],
        owner=owner,
        folder=clean_folder(options["folder"]),
        visibility=Visibility(options["visibility"]),
        origin=Origin.ADOPTED if options["adopt"] else Origin.IMPORTED,
    )
