"""Take a database that was restored to an earlier moment as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from uploads.errors import Problem, StorageUnavailable
from uploads.management.base import AmalgaCommand
from uploads.management.cli import until_stopped
from uploads.services.after_restore import Restored, after_restore
from uploads.services.recover_orphans import adopt_orphans

AWAY = "The {} cannot be asked ({}): `manage.py doctor` says why. Run it again when it can; nothing is lost."


class Command(AmalgaCommand):
    help = (
        "For after the database was restored to an earlier moment, when the sweep removes nothing because the "
        "bucket remembers more than the database knows. Says what there is to do; with --apply, everything in the "
        "trash gets its whole time again (somebody may have taken it out since), unfinished uploads get new time, "
        "those whose bytes are all in the bucket become files, and the bucket remembers this database from now on: "
        "the sweep goes on. Nothing is removed, and no object is written but amalga-clock.json. Objects of files "
        "that came later are not touched: fsck tells them, and after it --recover-unknown --owner NAME gives them "
        "to somebody as private files in a folder of their own, called by their keys, for the names are lost. Files"
        " whose time in the trash was over, and whose objects are gone, go. Safe to repeat. Exit status: 0 the "
        "database knows all that the bucket remembers, or it is done; 1 there is something to do, or a server is "
        "away; 2 the bucket is not this database's, or fsck has not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="do it; without it nothing is written")
        parser.add_argument(
            "--recover-unknown",
            action="store_true",
            help="only make files of what the last run of fsck found no row for",
        )
        parser.add_argument("--owner", metavar="NAME", help="whose these are to be (with --recover-unknown)")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["recover_unknown"] != bool(options["owner"]):
            raise CommandError("--recover-unknown and --owner NAME go together.", returncode=2)
        with until_stopped(), _translate_errors():
            if options["owner"]:
                self._recover(options)
            else:
                self._accept(options)

    def _accept(self, options: dict[str, Any]) -> None:
        done = after_restore(apply=options["apply"])
        if options["json"]:
            self.stdout.write(json.dumps(asdict(done), default=str))
        else:
            self._print(done, applied=options["apply"])
        if done.behind and not options["apply"]:
            raise CommandError("The sweep removes nothing until --apply.", returncode=1)

    def _recover(self, options: dict[str, Any]) -> None:
        owner = User.objects.filter(username=options["owner"]).first()
        if owner is None:
            raise CommandError(f"There is nobody called {options['owner']}.", returncode=2)
        count = adopt_orphans(owner, apply=options["apply"])
        if options["json"]:
            self.stdout.write(json.dumps({"recovered": count}))
        else:
            self.stdout.write(f"{count} objects {'became' if options['apply'] else 'would become'} files of {owner}.")

    def _print(self, done: Restored, *, applied: bool) -> None:
        for line in _lines(done, applied=applied):
            self.stdout.write(line)
        if applied and settings.PURGE_PAUSED:
            self.stdout.write("PURGE_PAUSED is still on: the sweep goes on when it is removed.")


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except StorageUnavailable as fault:
        raise CommandError(AWAY.format("store", fault.detail), returncode=1) from None
    except Problem as problem:
        raise CommandError(problem.message, returncode=2) from None
    except DatabaseError as fault:
        raise CommandError(AWAY.format("database", type(fault).__name__), returncode=1) from None


def _lines(done: Restored, *, applied: bool) -> list[str]:
    if done.seen is None:
        first = "The bucket remembers nothing yet."
    else:
        known = "which this database does not know" if done.behind else "and so does this database"
        first = f"The bucket remembers event {done.seen.event} of {done.seen.at:%Y-%m-%d %H:%M:%S} UTC, {known}."
    gets = "got" if applied else "would get"
    lines = [
        first,
        f"{done.trash} files in the trash {gets} their whole time again; {done.purged} were purged since, and go.",
        f"{done.uploads} unfinished uploads {gets} new time; the bytes of {done.arrived} are all in the bucket"
        + (f": {done.finished} became files, {done.failed} did not (see the log)." if applied else "."),
    ]
    if applied:
        lines.append("From now on the bucket remembers this database.")
    return lines
