"""Compare the bucket with its desired settings, and apply them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from uploads.management.base import AmalgaCommand, integer, translate_errors, until_stopped
from uploads.s3.bucket_config import SettingDiff, SettingStatus
from uploads.services.provision import desired_bucket, provision, site_origins

MAX_DAYS = 3650
ORIGIN_HELP = "an origin of our pages, for CORS; to be repeated (default: as the settings say)"
KEEP_HELP = (
    "how long what was overwritten or removed can be brought back, at least as long as the database's backups "
    "(default: 35, or what the bucket does if that is longer)"
)
ADVICE = "Run `manage.py doctor`, then run this again."
ADOPT_HELP = "the marker of a database that is gone, to be replaced by that of this one"


class Command(AmalgaCommand):
    help = (
        "Compares the bucket with what keeps files safe in it, and says what differs; with --apply it repairs that: "
        "the bucket itself, public access blocks, ownership, a policy against plain http and old signatures, "
        "encryption, versioning, lifecycle rules, CORS for the site's own origins alone (rules for others go), and the "
        "marker that says which database the bucket belongs to. No file, no object but the marker, no statement of a "
        "policy and no lifecycle rule of anybody else's is touched; a KMS key stays. Safe to repeat. Exit status: 0 "
        "all is as wanted, or was repaired, or the store has no such setting; 1 there are differences, or something "
        "could not be read or repaired; 2 refused: the bucket belongs to another database, or it is not clear where "
        "our pages are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="repair what differs; without it nothing is written")
        parser.add_argument("--origin", action="append", default=[], metavar="URL", help=ORIGIN_HELP)
        parser.add_argument("--retention-days", type=integer(1, MAX_DAYS), metavar="DAYS", help=KEEP_HELP)
        parser.add_argument("--adopt-marker", type=UUID, metavar="ID", help=ADOPT_HELP)
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), translate_errors(ADVICE):
            diffs = self._compare(options)
        if options["json"]:
            self.write_json({"applied": options["apply"], "settings": [_describe(diff) for diff in diffs]})
        if any(diff.status in {SettingStatus.UNKNOWN, SettingStatus.FAILED} for diff in diffs):
            raise CommandError("Not everything could be looked at and repaired; see above.", returncode=1)
        if any(diff.status is SettingStatus.DIFFERS for diff in diffs):
            raise CommandError("The bucket differs; --apply repairs it, as far as the store can.", returncode=1)

    def _compare(self, options: dict[str, Any]) -> list[SettingDiff]:
        """Print each setting at once, so that what was done is visible if the storage stops responding."""
        diffs = []
        spec = desired_bucket(site_origins(options["origin"]), keep_days=options["retention_days"])
        for diff in provision(spec, apply=options["apply"], adopt=options["adopt_marker"]):
            diffs.append(diff)
            if not options["json"]:
                self._print(diff)
        return diffs

    def _print(self, diff: SettingDiff) -> None:
        if diff.reason:
            self.stdout.write(f"{diff.subject}: {diff.reason} — {diff.advice}")
        for name, current, desired in diff.lines:
            template = "was {} → now {}" if diff.status is SettingStatus.APPLIED else "now {} → wanted {}"
            self.stdout.write(f"{diff.subject}: {name}: {template.format(current, desired)}")
        if not diff.reason and not diff.lines:
            self.stdout.write(f"{diff.subject}: as wanted")


def _describe(diff: SettingDiff) -> dict[str, Any]:
    lines = [{"name": name, "current": current, "desired": desired} for name, current, desired in diff.lines]
    return {"subject": diff.subject, "status": diff.status, "differences": lines, "reason": diff.reason,
            "advice": diff.advice}  # fmt: skip
