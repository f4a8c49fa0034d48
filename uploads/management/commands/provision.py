"""Compare the bucket with its desired settings, and apply them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from uploads.management.arguments import integer
from uploads.management.base import AmalgaCommand, report_errors
from uploads.management.shutdown import until_stopped
from uploads.s3.bucket_config import SettingDiff, SettingStatus
from uploads.services.provision import desired_bucket, provision, site_origins

MAX_DAYS = 3650
ADVICE = "Run `manage.py doctor`, then run this command again."


class Command(AmalgaCommand):
    help = "Create and configure the bucket."
    epilog = """
    Without --apply, this command only reports how the bucket differs from what Amalga needs.
    Safe to repeat.

    Changes:        with --apply: the bucket itself, its public access block, object ownership,
                    policy (TLS and current signatures only), encryption, versioning, lifecycle
                    rules, CORS (for the origins of this site only), and its marker, which names
                    the database that it belongs to.
    Never changes:  files, other objects, KMS keys, and other statements and lifecycle rules.

    Exit codes:
      0  configured, or the storage does not support the setting
      1  differences, or something could not be read or written
      2  refused: the bucket belongs to another database, or the origins are unknown

    Example:
      manage.py provision --apply --retention-days 35
    """
    json_keys = {
        "applied": "whether --apply was given",
        "settings": (
            "list of settings: subject, status (ok, differs, lacking, unknown, failed, applied), differences "
            "(list of name, current, desired), reason, advice"
        ),
    }

    def add_arguments(self, parser: CommandParser) -> None:
        changes = parser.add_argument_group("changes")
        changes.add_argument("--apply", action="store_true", help="write the settings (default: only report)")
        changes.add_argument(
            "--adopt-marker", type=UUID, metavar="ID", help="replace the marker of another database, which was deleted"
        )
        configuration = parser.add_argument_group("configuration")
        configuration.add_argument(
            "--origin", action="append", default=[], metavar="URL",
            help="origin of the site, for CORS; can be repeated (default: from the settings)",
        )  # fmt: skip
        configuration.add_argument(
            "--retention-days", type=integer(1, MAX_DAYS), metavar="DAYS",
            help="keep deleted and overwritten objects, at least as long as the backups of the database (default: 35, "
            "or what the bucket has, if that is longer)",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        with until_stopped(), report_errors(ADVICE):
            diffs = self._compare(options)
        if self.as_json:
            self.write_json({"applied": options["apply"], "settings": [_describe(diff) for diff in diffs]})
        if any(diff.status in {SettingStatus.UNKNOWN, SettingStatus.FAILED} for diff in diffs):
            raise CommandError("Some settings could not be read or written.", returncode=1)
        if any(diff.status is SettingStatus.DIFFERS for diff in diffs):
            raise CommandError("The bucket differs. Run again with --apply.", returncode=1)

    def _compare(self, options: dict[str, Any]) -> list[SettingDiff]:
        """Print each setting at once, so that what was done is visible if the storage stops responding."""
        diffs = []
        spec = desired_bucket(site_origins(options["origin"]), keep_days=options["retention_days"])
        for diff in provision(spec, apply=options["apply"], adopt=options["adopt_marker"]):
            diffs.append(diff)
            if not self.as_json:
                self._print(diff)
        return diffs

    def _print(self, diff: SettingDiff) -> None:
        if diff.reason:
            self.stdout.write(f"{diff.subject}: {diff.reason}. Fix: {diff.advice}.")
        for name, current, desired in diff.lines:
            template = "changed from {} to {}" if diff.status is SettingStatus.APPLIED else "{}, should be {}"
            self.stdout.write(f"{diff.subject}: {name}: {template.format(current, desired)}")
        if not diff.reason and not diff.lines:
            self.stdout.write(f"{diff.subject}: ok")


def _describe(diff: SettingDiff) -> dict[str, Any]:
    lines = [{"name": name, "current": current, "desired": desired} for name, current, desired in diff.lines]
    return {"subject": diff.subject, "status": diff.status, "differences": lines, "reason": diff.reason,
            "advice": diff.advice}  # fmt: skip
