"""Accept a database that was restored to an earlier point in time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from uploads.management.arguments import find_user
from uploads.management.base import AmalgaCommand, CommandRefused, report_errors
from uploads.management.shutdown import until_stopped
from uploads.services.after_restore import Restored, after_restore
from uploads.services.recover_orphans import adopt_orphans

ADVICE = "No file was deleted. Run `manage.py doctor`, then run this command again."


class Command(AmalgaCommand):
    help = "Accept a database that was restored to an earlier point in time."
    epilog = """
    After such a restore the sweep deletes nothing, because the bucket's checkpoint is newer than
    the database. Without --apply, this command only reports what it would change.

    Changes:        with --apply: restarts the retention period of the trash and the expiry of
                    unfinished uploads, completes uploads whose objects are complete, and writes
                    amalga-checkpoint.json, so that the sweep runs again. Files in the trash
                    whose objects were already purged are purged again.
                    With --recover-orphans: creates private files for the orphans that fsck
                    found, named after their keys, in a new folder of the owner.
    Never changes:  objects, except the checkpoint.

    Exit codes:
      0  the database is as new as the checkpoint, or the restore was accepted
      1  --apply is needed, or storage or database unavailable
      2  refused: the bucket belongs to another database, or fsck has not run

    Example:
      manage.py after_restore --apply
    """
    json_keys = {
        "applied": "whether --apply was given",
        "checkpoint_event": "event of the bucket's checkpoint, or null",
        "checkpoint_at": "time of that event, or null",
        "behind": "whether the database lacks that event",
        "trash": "files in the trash whose retention period restarts",
        "purged": "files in the trash whose objects were purged after the point of the restore",
        "uploads": "unfinished uploads whose expiry restarts",
        "arrived": "uploads among them whose objects are complete",
        "finished": "uploads that became files",
        "failed": "uploads that could not be completed",
        "orphans": "orphans that become files (only with --recover-orphans)",
        "owner": "owner of these files (only with --recover-orphans)",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        changes = parser.add_argument_group("changes")
        changes.add_argument("--apply", action="store_true", help="write the changes (default: only report them)")
        orphans = parser.add_argument_group("orphans")
        orphans.add_argument(
            "--recover-orphans", action="store_true", help="only create files for the orphans of the last fsck run"
        )
        orphans.add_argument("--owner", metavar="USERNAME", help="owner of these files")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["recover_orphans"] != bool(options["owner"]):
            raise CommandRefused("--recover-orphans needs --owner USERNAME, and the reverse.")
        with until_stopped(), report_errors(ADVICE):
            if options["owner"]:
                self._recover(options["owner"], apply=options["apply"])
            else:
                self._accept(apply=options["apply"])

    def _accept(self, *, apply: bool) -> None:
        restored = after_restore(apply=apply)
        self.write_values(_values(restored, applied=apply))
        if apply and settings.PURGE_PAUSED:
            self.stderr.write("PURGE_PAUSED is still on. Remove it to let the sweep delete files again.")
        if restored.behind and not apply:
            raise CommandError(
                "The database is older than the bucket, so the sweep deletes nothing. Run again with --apply.",
                returncode=1,
            )

    def _recover(self, username: str, *, apply: bool) -> None:
        owner = find_user(username)
        count = adopt_orphans(owner, apply=apply)
        self.write_values({"applied": apply, "orphans": count, "owner": owner.get_username()})


def _values(restored: Restored, *, applied: bool) -> dict[str, Any]:
    counts = asdict(restored)
    del counts["checkpoint"]
    saved = restored.checkpoint
    checkpoint = {"checkpoint_event": saved.event if saved else None, "checkpoint_at": saved.at if saved else None}
    return {"applied": applied, **checkpoint, **counts}
