"""Accept a database that was restored to an earlier point in time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from uploads.management.base import AmalgaCommand, find_user, translate_errors, until_stopped
from uploads.services.after_restore import Restored, after_restore
from uploads.services.recover_orphans import adopt_orphans

ADVICE = "Nothing is lost: run `manage.py doctor`, then run this again."


class Command(AmalgaCommand):
    help = (
        "For after the database was restored to an earlier moment, when the sweep removes nothing because the "
        "bucket remembers more than the database knows. Says what there is to do; with --apply, everything in the "
        "trash gets its whole time again (somebody may have taken it out since), unfinished uploads get new time, "
        "those whose bytes are all in the bucket become files, and the bucket remembers this database from now on: "
        "the sweep goes on. Nothing is removed, and no object is written but amalga-checkpoint.json. Objects of files "
        "that came later are not touched: fsck tells them, and after it --recover-orphans --owner NAME gives them "
        "to somebody as private files in a folder of their own, called by their keys, for the names are lost. Files"
        " whose time in the trash was over, and whose objects are gone, go. Safe to repeat. Exit status: 0 the "
        "database knows all that the bucket remembers, or it is done; 1 there is something to do, or a server is "
        "away; 2 the bucket is not this database's, or fsck has not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="do it; without it nothing is written")
        parser.add_argument(
            "--recover-orphans",
            action="store_true",
            help="only make files of what the last run of fsck found no row for",
        )
        parser.add_argument("--owner", metavar="NAME", help="whose these are to be (with --recover-orphans)")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["recover_orphans"] != bool(options["owner"]):
            raise CommandError("--recover-orphans and --owner NAME go together.", returncode=2)
        with until_stopped(), translate_errors(ADVICE):
            if options["owner"]:
                self._recover(options)
            else:
                self._accept(options)

    def _accept(self, options: dict[str, Any]) -> None:
        restored = after_restore(apply=options["apply"])
        if options["json"]:
            self.write_json(asdict(restored))
        else:
            self._print(restored, applied=options["apply"])
        if restored.behind and not options["apply"]:
            raise CommandError("The sweep removes nothing until --apply.", returncode=1)

    def _recover(self, options: dict[str, Any]) -> None:
        owner = find_user(options["owner"])
        count = adopt_orphans(owner, apply=options["apply"])
        if options["json"]:
            self.write_json({"recovered": count})
        else:
            self.stdout.write(f"{count} objects {'became' if options['apply'] else 'would become'} files of {owner}.")

    def _print(self, restored: Restored, *, applied: bool) -> None:
        for line in _lines(restored, applied=applied):
            self.stdout.write(line)
        if applied and settings.PURGE_PAUSED:
            self.stdout.write("PURGE_PAUSED is still on: the sweep goes on when it is removed.")


def _lines(restored: Restored, *, applied: bool) -> list[str]:
    if restored.seen is None:
        first = "The bucket remembers nothing yet."
    else:
        knowledge = "which this database does not know" if restored.behind else "and so does this database"
        first = (
            f"The bucket remembers event {restored.seen.event} of {restored.seen.at:%Y-%m-%d %H:%M:%S} UTC, "
            f"{knowledge}."
        )
    verb = "got" if applied else "would get"
    lines = [
        first,
        f"{restored.trash} files in the trash {verb} their whole time again; "
        f"{restored.purged} were purged since, and go.",
        f"{restored.uploads} unfinished uploads {verb} new time; the bytes of {restored.arrived} are all in the bucket"
        + (f": {restored.finished} became files, {restored.failed} did not (see the log)." if applied else "."),
    ]
    if applied:
        lines.append("From now on the bucket remembers this database.")
    return lines
