"""Rebuild the rows of a library from a manifest, in an empty database."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from uploads import s3
from uploads.management.base import AmalgaCommand, Progress, translate_errors, until_stopped
from uploads.models import Report, RunOutcome
from uploads.services.manifest import MAX_REPORTED, Rebuilt, latest_in_bucket, rebuild

CHUNK_BYTES = 1024**2
LABELS = {
    "present": "files as the manifest says",
    "changed": "files with another ETag than it says, as after a bucket was restored: `verify` reads them",
    "size": "files with an object of another size, marked as corrupted",
    "missing": "files without an object, marked as missing",
    "unknown": "objects that no line names (--recover-orphans)",
    "previews": "previews without rows: new ones are made, and fsck tells of the old ones",
}


class Command(AmalgaCommand):
    help = (
        "Makes people, folders, tags and files again from a manifest (see `export_manifest`), each file held against "
        "the bucket. Only in an empty library: nothing is mixed or written over. Without --apply it only says what "
        "would come. What is in the trash is purged TRASH_RETENTION_DAYS from now at the earliest: somebody may have "
        "taken it out since the manifest was written. All rows are written in one transaction, or none. No object in "
        "the bucket is touched. Everybody needs a new password afterwards. Exit status: 0 every file is there, 1 there "
        "are differences or a part is away, 2 refused: the library is not empty, the manifest not whole, or the bucket "
        "another database's."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("manifest", nargs="?", type=Path, metavar="MANIFEST", help="a file, packed or not")
        parser.add_argument("--latest", action="store_true", help="the newest under manifests/ in the bucket")
        parser.add_argument("--apply", action="store_true", help="write the rows; without it nothing is written")
        parser.add_argument(
            "--recover-orphans",
            action="store_true",
            help="files also for objects that no line names, in a folder of theirs",
        )
        parser.add_argument("--owner", metavar="NAME", help="whose these are to be (with --recover-orphans)")
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["manifest"]) == options["latest"]:
            raise CommandError("Name a manifest, or say --latest.", returncode=2)
        if options["recover_orphans"] != bool(options["owner"]):
            raise CommandError("--recover-orphans and --owner NAME go together.", returncode=2)
        with (
            until_stopped(),
            translate_errors("Nothing was written."),
            _translate_file_and_row_errors(),
            _manifest(options["manifest"]) as path,
            Progress(self.stderr, "rebuild_rows", quiet=options["json"]) as progress,
        ):
            rebuilt = rebuild(path, apply=options["apply"], recover_for=options["owner"], on_row=progress.step)
        self._print(rebuilt, options)
        counts = rebuilt.comparison.counts
        is_whole = not any(counts[outcome] for outcome in ("changed", "size", "missing", "unknown"))
        if options["apply"]:
            Report.objects.create(command="rebuild_rows", scope=rebuilt.head.at).end(
                RunOutcome.SUCCEEDED if is_whole else RunOutcome.DIFFERENCES, **counts
            )
        if not is_whole:
            raise CommandError("Bucket and manifest differ; see above.", returncode=1)

    def _print(self, rebuilt: Rebuilt, options: dict[str, Any]) -> None:
        counts = rebuilt.comparison.counts
        for outcome, key in rebuilt.comparison.differing:
            self.stderr.write(f"{outcome}: {key}")
        if len(rebuilt.comparison.differing) == MAX_REPORTED:
            self.stderr.write("… and perhaps more; the figures count all")
        if options["json"]:
            summary = {"applied": options["apply"], "manifest": rebuilt.head.at, "rows": rebuilt.head.counts, **counts}
            self.write_json(summary)
            return
        rows = ", ".join(f"{count} {kind}" for kind, count in rebuilt.head.counts.items())
        self.stdout.write(f"The manifest of {rebuilt.head.at}: {rows}")
        for outcome, text in LABELS.items():
            self.stdout.write(f"{counts[outcome]:>12,} {text}")
        self.stdout.write(
            f"What is in the trash stays there for {settings.TRASH_RETENTION_DAYS} days more before it is purged."
        )
        if options["apply"]:
            self.stdout.write(
                "The library is back. Nobody has a password: `manage.py changepassword NAME`, or the admin."
            )
        else:
            self.stdout.write("Nothing was written; --apply does.")


@contextlib.contextmanager
def _manifest(path: Path | None) -> Iterator[Path]:
    """Yield `path`, or the path of a local copy of the latest manifest in the bucket."""
    if path is not None:
        yield path
        return
    key = latest_in_bucket()
    if key is None or (stream := s3.stream(key)) is None:
        raise CommandError("The bucket has no manifest under manifests/: name a file.", returncode=2)
    with tempfile.TemporaryDirectory(prefix="amalga-manifest-") as folder, stream:
        copy = Path(folder) / "manifest"
        with copy.open("wb") as file:
            file.writelines(stream.chunks(CHUNK_BYTES))
        yield copy


@contextlib.contextmanager
def _translate_file_and_row_errors() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise CommandError(f"The database refuses the rows: {error}. Nothing was written.", returncode=1) from None
    except OSError as error:
        raise CommandError(f"The manifest cannot be read: {error.strerror}.", returncode=2) from None
