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

from uploads.management.base import AmalgaCommand, Progress, translate_errors, until_stopped
from uploads.models import Report, RunOutcome
from uploads.services.manifest import Exported, export_lines, save_in_bucket

ADVICE = "Nothing was written: run `manage.py doctor`, then run this again."


class Command(AmalgaCommand):
    help = (
        "Writes people, groups, folders and their rules, tags, and files with their versions as JSON lines: to stdout, "
        "to a file, or packed into the bucket under manifests/. All of it is as of one moment, and people go on "
        "working. From this and the bucket, `rebuild_rows` makes the library again. Passwords are not in it, not even "
        "their hashes, nor uploads under way, sessions and previews; but every name is: keep it as private as the "
        "files. Nothing in the library and no older manifest is touched. Exit status: 0 written, 1 it could not be "
        "written, 2 unusable options."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        destination = parser.add_mutually_exclusive_group()
        destination.add_argument(
            "--output", type=Path, metavar="FILE", help="instead of stdout; packed if it ends in .gz"
        )
        destination.add_argument("--bucket", action="store_true", help="into the bucket, under manifests/")
        parser.add_argument("--events", action="store_true", help="the activity log as well")
        parser.add_argument(
            "--json", action="store_true", help="one JSON object at the end (with --output or --bucket)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["json"] and not (options["output"] or options["bucket"]):
            raise CommandError("--json goes with --output or --bucket: stdout is the manifest.", returncode=2)
        exported = Exported()
        with until_stopped(), translate_errors(ADVICE), _translate_os_errors():
            if options["bucket"]:
                location = self._to_bucket(exported, options)
            elif options["output"]:
                location = self._to_file(options["output"], exported, options)
            else:
                location = self._to_stdout(exported, options)
        Report.objects.create(command="export_manifest", scope=location[:1024]).end(
            RunOutcome.SUCCEEDED, **exported.counts, skipped=exported.skipped, sha256=exported.sha256
        )
        if options["json"]:
            summary = {"where": location, **exported.counts, "skipped": exported.skipped, "sha256": exported.sha256}
            self.write_json(summary)
        else:
            rows = ", ".join(f"{count} {kind}" for kind, count in exported.counts.items())
            self.stderr.write(f"export_manifest: {rows}; written to {location}")

    def _to_stdout(self, exported: Exported, options: dict[str, Any]) -> str:
        for line in self._lines(exported, options):
            self.stdout.write_raw(line.decode())
        return "stdout"

    def _to_file(self, path: Path, exported: Exported, options: dict[str, Any]) -> str:
        if path.exists() and not path.is_file():
            raise CommandError(f"{path} is no file: name one, or leave --output out for stdout.", returncode=2)
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
            raise CommandError(f"{path} could not be written: {error.strerror}.", returncode=1) from None
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
        with Progress(self.stderr, "export_manifest", quiet=options["json"]) as progress:
            for line in export_lines(exported, events=options["events"]):
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
        raise CommandError(f"The manifest could not be written: {error.strerror}.", returncode=1) from None
