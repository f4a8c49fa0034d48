"""Read stored objects and settle what their checksums rest on."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from uploads import services
from uploads.errors import StoreUnavailable
from uploads.models import Basis, File


class Command(BaseCommand):
    help = (
        "Reads available files whose checksum is only announced by the sender, computes it anew and "
        "settles the claim: read, or damaged. Sets checksum_basis and checked_at of these rows; no "
        "object, no name and no other row is touched. Exit status: 0 all agree, 1 differences or "
        "failures, 2 nothing could be done."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", type=UUID, help="only these files, whatever their state of trust")
        parser.add_argument("--all", action="store_true", help="also files that were checked before")
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        counts: Counter[str] = Counter(read=0, damaged=0, missing=0, failed=0)
        for file in self._chosen(options["ids"], everything=options["all"]).iterator(chunk_size=500):
            outcome = self._verify(file)
            counts[outcome] += 1
            if outcome != "read" and not options["json"]:
                self.stdout.write(f"{outcome}: {file.pk} ({file.key})")
        self._tell(counts, as_json=options["json"])
        if counts["damaged"] or counts["missing"] or counts["failed"]:
            raise CommandError("Not every file agrees with its row.", returncode=1)

    def _chosen(self, ids: list[UUID], *, everything: bool) -> Any:
        rows = File.objects.available().order_by("id")
        if ids:
            return rows.filter(pk__in=ids)
        return rows if everything else rows.filter(checksum_basis=Basis.CLAIMED)

    def _verify(self, file: File) -> str:
        try:
            basis = services.verify(file)
        except StoreUnavailable:
            return "failed"
        return str(basis.value) if basis else "missing"

    def _tell(self, counts: Counter[str], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(counts))
            return
        self.stdout.write(", ".join(f"{count} {what}" for what, count in counts.items()))
