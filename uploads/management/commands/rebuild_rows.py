"""Rebuild the rows of a library from a manifest, in an empty database."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from uploads import s3
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.output import Progress
from uploads.management.shutdown import until_stopped
from uploads.models import Report, RunOutcome
from uploads.services.manifest.export import latest_in_bucket
from uploads.services.manifest.format import MAX_REPORTED
from uploads.services.manifest.rebuild import Rebuilt, rebuild

CHUNK_BYTES = 1024**2
OUTCOMES = ("present", "changed", "size", "missing", "unknown", "previews")


class Command(AmalgaCommand):
    help = "Restore the rows of a library from a manifest."
    epilog = """
    For a lost database: run it with a new, empty one. It compares each file of the manifest (see
    `export_manifest`) with the bucket. Afterwards all people need new passwords.

    Changes:        with --apply: writes people, groups, folders, tags and files, all in one
                    transaction. Files in the trash stay there for at least
                    TRASH_RETENTION_DAYS more.
    Never changes:  objects, and libraries that are not empty.

    Exit codes:
      0  every file was found in the bucket
      1  differences, or storage or database unavailable
      2  refused: the library is not empty, the manifest is incomplete, or the bucket belongs
         to another database

    Example:
      manage.py rebuild_rows --latest --apply
    """
    json_keys = {
        "applied": "whether --apply was given",
        "manifest": "time of the manifest",
        "rows": "number of rows of each kind in the manifest",
        "present": "files with the object that the manifest names",
        "changed": "files with another ETag, as after the bucket was restored: `verify` reads them",
        "size": "files with an object of another size, marked as corrupted",
        "missing": "files without an object, marked as missing",
        "unknown": "objects that the manifest does not name (see --recover-orphans)",
        "previews": "previews without rows, which are made again",
        "differences": f"list of up to {MAX_REPORTED:,} differences: outcome, key",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        source = parser.add_argument_group("manifest")
        source.add_argument("manifest", nargs="?", type=Path, metavar="FILE", help="a manifest, compressed or not")
        source.add_argument("--latest", action="store_true", help="use the newest manifest in the bucket")
        changes = parser.add_argument_group("changes")
        changes.add_argument("--apply", action="store_true", help="write the rows (default: only report)")
        changes.add_argument(
            "--recover-orphans", action="store_true", help="also create files for objects that are not in the manifest"
        )
        changes.add_argument("--owner", metavar="USERNAME", help="owner of these files")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["manifest"]) == options["latest"]:
            raise CommandRefused("Give either a FILE or --latest.")
        if options["recover_orphans"] != bool(options["owner"]):
            raise CommandRefused("--recover-orphans needs --owner USERNAME, and the reverse.")
        with (
            until_stopped(),
            report_errors("Nothing was written."),
            _translate_file_and_row_errors(),
            _manifest(options["manifest"]) as path,
            Progress(self.stderr, "rebuild_rows", quiet=self.as_json) as progress,
        ):
            rebuilt = rebuild(path, apply=options["apply"], recover_for=options["owner"], on_row=progress.step)
        self._print(rebuilt, applied=options["apply"])
        counts = rebuilt.comparison.counts
        is_whole = not any(counts[outcome] for outcome in ("changed", "size", "missing", "unknown"))
        if options["apply"]:
            Report.objects.create(command="rebuild_rows", scope=rebuilt.head.at).end(
                RunOutcome.SUCCEEDED if is_whole else RunOutcome.DIFFERENCES, **counts
            )
        if not is_whole:
            raise CommandError("The bucket differs from the manifest.", returncode=1)

    def _print(self, rebuilt: Rebuilt, *, applied: bool) -> None:
        counts = {outcome: rebuilt.comparison.counts[outcome] for outcome in OUTCOMES}
        values = {"applied": applied, "manifest": rebuilt.head.at, "rows": dict(rebuilt.head.counts), **counts}
        differing = rebuilt.comparison.differing
        if self.as_json:
            self.write_json({**values, "differences": [{"outcome": outcome, "key": key} for outcome, key in differing]})
            return
        for outcome, key in differing:
            self.stderr.write(f"{outcome}: {key}")
        if len(differing) == MAX_REPORTED:
            self.stderr.write(f"Only the first {MAX_REPORTED:,} differences are shown.")
        self.write_values(values)
        if applied:
            self.stderr.write("Restored the library. Set new passwords with `manage.py changepassword USERNAME`.")
        else:
            self.stderr.write("Nothing was written. Run again with --apply.")


@contextlib.contextmanager
def _manifest(path: Path | None) -> Iterator[Path]:
    """Yield `path`, or the path of a local copy of the latest manifest in the bucket."""
    if path is not None:
        yield path
        return
    key = latest_in_bucket()
    if key is None or (stream := s3.stream(key)) is None:
        raise CommandRefused("The bucket has no manifest under manifests/. Give a FILE instead of --latest.")
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
        raise CommandError(f"The database rejected the rows: {error}. Nothing was written.", returncode=1) from None
    except OSError as error:
        raise CommandRefused(f"Could not read the manifest: {error.strerror}.") from None
