"""The audit log as CSV, safe for spreadsheets that evaluate formulas."""

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
BATCH_SIZE = 2_000
BYTE_ORDER_MARK = "\ufeff"  # without it spreadsheets mistake UTF-8 for another encoding
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")  # OWASP ASVS 5.0, 1.2.10


class Echo:
    """A file object for csv.writer that returns each line instead of storing it."""

    def write(self, text: str) -> str:
        return text


def csv_lines(events: EventQuerySet, user: User) -> Iterator[str]:
    """Yield the events as CSV lines (RFC 4180), newest first. Over the limit, the last line says so."""
    writer = csv.writer(Echo(), quoting=csv.QUOTE_ALL, lineterminator="\r\n")
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
            message = _("There are more than %(most)s. Narrow the filter for the rest.") % {"most": f"{MAX_EXPORTED:,}"}
            yield writer.writerow(["", message, "", "", "", "", "", "", ""])
            return


def cell(value: Any) -> str:
    """Return the value as text that no spreadsheet evaluates as a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_PREFIXES) else text


def _row(event: Any) -> list[Any]:
    detail = json.dumps(event.redacted_detail, ensure_ascii=False, sort_keys=True) if event.redacted_detail else ""
    return [event.pk, event.at.isoformat(), event.action, event.actor, event.redacted_name, event.file_id,
            event.folder_id, event.address, detail]  # fmt: skip


def _batches(events: EventQuerySet) -> Iterator[Sequence[Any]]:
    """Yield batches by descending id, so that no database cursor stays open while a slow client reads."""
    rows, last = events.order_by("-id"), None
    while True:
        batch = list((rows if last is None else rows.filter(pk__lt=last))[:BATCH_SIZE])
        if not batch:
            return
        yield batch
        last = batch[-1].pk
