"""Read stored objects and settle what their checksums rest on."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection

from uploads import services
from uploads.errors import StoreUnavailable
from uploads.models import Basis, File
from uploads.models.queries import FileQuerySet


class Command(BaseCommand):
    help = (
        "Reads available files whose checksum is only announced by the sender, computes it anew and "
        "settles the claim: read, or damaged. Sets checksum_basis and verified_at of these rows; no "
        "object, no name and no other row is touched. Several may run at once. Exit status: 0 all "
        "agree, 1 differences or failures, 2 a named file is not there."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=UUID, help="these files only, checked before or not")
        parser.add_argument("--all", action="store_true", help="also files that were checked before")
        parser.add_argument("--every", type=int, metavar="SECONDS", help="go on until stopped, with this pause")
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["every"] is not None:
            self._go_on(pause=max(1, options["every"]))
        counts = self._verify_each(_chosen(options["ids"], everything=options["all"]), quiet=options["json"])
        told = json.dumps(counts) if options["json"] else ", ".join(f"{n} {what}" for what, n in counts.items())
        self.stdout.write(told)
        if counts.total() > counts["read"]:
            raise CommandError("Not every file agrees with its row.", returncode=1)

    def _go_on(self, *, pause: int) -> None:
        """Settle claims as they come; a database or a store that is away is waited for."""
        while True:
            try:
                self._verify_each(_chosen([], everything=False), quiet=True)
            except DatabaseError as fault:
                self.stderr.write(f"verify: the database is away ({type(fault).__name__})")
                connection.close()
            time.sleep(pause)

    def _verify_each(self, rows: FileQuerySet, *, quiet: bool) -> Counter[str]:
        counts: Counter[str] = Counter(read=0, damaged=0, missing=0, failed=0)
        for file in rows.iterator(chunk_size=500):
            outcome = _outcome(file)
            counts[outcome] += 1
            if outcome != "read" and not quiet:
                self.stdout.write(f"{outcome}: {file.pk} ({file.key})")
        return counts


def _chosen(ids: list[UUID], *, everything: bool) -> FileQuerySet:
    rows = File.objects.available().order_by("id")
    if ids:
        named = rows.filter(pk__in=ids)
        if unknown := set(ids) - set(named.values_list("pk", flat=True)):
            raise CommandError(f"No available file: {', '.join(map(str, unknown))}", returncode=2)
        return named
    return rows if everything else rows.filter(checksum_basis=Basis.CLAIMED)


def _outcome(file: File) -> str:
    try:
        basis = services.verify(file)
    except StoreUnavailable:
        return "failed"
    return str(basis.value) if basis else "missing"
