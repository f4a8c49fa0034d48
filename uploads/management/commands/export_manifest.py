"""Export all rows of the library as a manifest."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.core.management.base import CommandError, CommandParser

from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.output import Progress
from uploads.management.shutdown import until_stopped
from uploads.models import Report, RunOutcome
from uploads.services.manifest.export import Exported, export_lines, save_in_bucket

ADVICE = "Nothing was written. Run `manage.py doctor`, then run this command again."
STDOUT = "stdout"


class Command(AmalgaCommand):
    help = "Export all rows of the library as a manifest."
    epilog = """
    The manifest has people, groups, folders, access rules, tags, and files with their versions,
    as JSON lines, all from one point in time. With it and the bucket, `rebuild_rows` restores
    the library. It has no passwords, sessions, previews or unfinished uploads. It does have all
    names: keep it as private as the files. People can keep working.

    Changes:        writes one manifest: to standard output, a file, or the bucket.
    Never changes:  the library, and older manifests.

    Exit codes:
      0  written
      1  not written: storage, database or disk failed
      2  invalid options

    Example:
      manage.py export_manifest --to-bucket
    """
    json_keys = {
        "destination": "file or key of the manifest",
        "rows": "number of rows of each kind",
        "skipped": "rows that were left out, because they changed during the export",
        "sha256": "SHA-256 of the manifest before compression",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        destination = parser.add_argument_group("destination (default: standard output)")
        either = destination.add_mutually_exclusive_group()
        either.add_argument(
            "--output", type=Path, metavar="FILE", help="write to a file, compressed if its name ends in .gz"
        )
        either.add_argument("--to-bucket", action="store_true", help="write to manifests/ in the bucket, compressed")
        content = parser.add_argument_group("content")
        content.add_argument("--include-audit-log", action="store_true", help="also export the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        if self.as_json and not (options["output"] or options["to_bucket"]):
            raise CommandRefused("--json needs --output or --to-bucket.")
        exported = Exported()
        with until_stopped(), report_errors(ADVICE), _translate_os_errors():
            if options["to_bucket"]:
                location = self._to_bucket(exported, options)
            elif options["output"]:
                location = self._to_file(options["output"], exported, options)
            else:
                location = self._to_stdout(exported, options)
        Report.objects.create(command="export_manifest", scope=location[:1024]).end(
            RunOutcome.SUCCEEDED, **exported.counts, skipped=exported.skipped, sha256=exported.sha256
        )
        if location == STDOUT:
            rows = ", ".join(f"{count:,} {kind}" for kind, count in exported.counts.items())
            self.stderr.write(f"Exported {rows}.")
            return
        self.write_values(
            {
                "destination": location,
                "rows": dict(exported.counts),
                "skipped": exported.skipped,
                "sha256": exported.sha256,
            }
        )

    def _to_stdout(self, exported: Exported, options: dict[str, Any]) -> str:
        for line in self._lines(exported, options):
            self.stdout.write_raw(line.decode())
        return STDOUT

    def _to_file(self, path: Path, exported: Exported, options: dict[str, Any]) -> str:
        if path.exists() and not path.is_file():
            raise CommandRefused(f"{path} is not a file. Choose another path for --output.")
        self._to_new_file(path, exported, options)
        return str(path)

    def _to_new_file(self, path: Path, exported: Exported, options: dict[str, Any]) -> None:
        """Write to a temporary file and rename it, so that `path` is always complete. Only the owner can read it."""
        temporary = path
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
                temporary = Path(file.name)
                with _compressed(file) if path.suffix == ".gz" else _plain(file) as output:
                    output.writelines(self._lines(exported, options))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise CommandError(f"Could not write {path}: {error.strerror}.", returncode=1) from None
        finally:
            if temporary != path:
                temporary.unlink(missing_ok=True)

    def _to_bucket(self, exported: Exported, options: dict[str, Any]) -> str:
        """Write a local file first: the transaction must not stay open during the upload."""
        with tempfile.TemporaryDirectory(prefix="amalga-manifest-") as folder:
            path = Path(folder) / "manifest.gz"
            with path.open("wb") as file, _compressed(file) as output:
                output.writelines(self._lines(exported, options))
            return save_in_bucket(path)

    def _lines(self, exported: Exported, options: dict[str, Any]) -> Iterator[bytes]:
        with Progress(self.stderr, "export_manifest", quiet=self.as_json) as progress:
            for line in export_lines(exported, events=options["include_audit_log"]):
                yield line
                progress.step(bytes=len(line))


@contextmanager
def _compressed(file: IO[bytes]) -> Iterator[IO[bytes]]:
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0) as compressed:
        yield compressed  # type: ignore[misc]  # a GzipFile is an IO[bytes] in all but name


@contextmanager
def _plain(file: IO[bytes]) -> Iterator[IO[bytes]]:
    yield file


@contextmanager
def _translate_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"Could not write the manifest: {error.strerror}.", returncode=1) from None
