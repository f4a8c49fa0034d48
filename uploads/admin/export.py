"""The activity log as CSV, fit for a spreadsheet that trusts what it opens."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.admin.redaction import redact_events
from uploads.models.audit import EventQuerySet

MAX_EXPORTED = 100_000
BATCH = 2_000
BYTE_ORDER_MARK = "\ufeff"  # without it spreadsheets take UTF-8 for something else
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP ASVS 5.0, 1.2.10


class Line:
    """What csv.writer writes to: gives each line back instead of keeping it."""

    def write(self, text: str) -> str:
        return text


def lines(events: EventQuerySet, user: User) -> Iterator[str]:
    """The events, newest first, line by line (RFC 4180); what goes over the limit is told in the last line."""
    writer = csv.writer(Line(), quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    yield BYTE_ORDER_MARK
    yield writer.writerow(["id", _("when"), _("what"), _("who"), _("name"), _("file"), _("folder"), _("from where"),
                           _("details")])  # fmt: skip
    written = 0
    for batch in _batches(events):
        redact_events(batch, user)
        for event in batch[: MAX_EXPORTED - written]:
            yield writer.writerow([cell(value) for value in _row(event)])
        written += len(batch)
        if written > MAX_EXPORTED:
            told = _("There are more than %(most)s. Narrow the filter for the rest.") % {"most": f"{MAX_EXPORTED:,}"}
            yield writer.writerow(["", told, "", "", "", "", "", "", ""])
            return


def cell(value: Any) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _row(event: Any) -> list[Any]:
    detail = json.dumps(event.told_detail, ensure_ascii=False, sort_keys=True) if event.told_detail else ""
    return [event.pk, event.at.isoformat(), event.action, event.actor, event.told_name, event.file_id, event.folder_id,
            event.address, detail]  # fmt: skip


def _batches(events: EventQuerySet) -> Iterator[Sequence[Any]]:
    """By id downwards, so that no cursor has to stay open while a slow client reads."""
    rows, last = events.order_by("-id"), None
    while True:
        batch = list((rows if last is None else rows.filter(pk__lt=last))[:BATCH])
        if not batch:
            return
        yield batch
        last = batch[-1].pk
