"""Repair findings of fsck where the right state is provable.

No repair loses anything: an object is only deleted after a copy under `quarantine/` exists, and no row is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from amalga.db import statement_timeout
from amalga.log import field_value
from uploads import s3
from uploads.errors import Conflict, Paused, ValidationFailed, WrongMarker
from uploads.keys import PREVIEW_PREFIX
from uploads.models import (
    Action,
    ChecksumStatus,
    Event,
    File,
    Finding,
    FindingKind,
    Preview,
    PreviewState,
    Report,
    RunOutcome,
    State,
)
from uploads.models.querysets import in_batches, seconds_from_now
from uploads.models.states import STORED
from uploads.services.bucket_guard import require_marker, require_removal
from uploads.services.finish import resume_completion
from uploads.services.fsck import COMMAND, RunRefused, Scope
from uploads.services.fsck.diff import BACK, KeyVerdict, Snapshot, recheck
from uploads.services.fsck.lines import BLOCK_SECONDS, LAST_CHARACTER, rows_by_key
from uploads.services.tasks import request_previews

logger = logging.getLogger(__name__)

VALID_FOR = timedelta(hours=24)
MAX_PERCENT = 1
BATCH_SIZE = 200
PROVABLE = (
    Q(kind__in=[FindingKind.MISSING, FindingKind.ORPHAN])
    | Q(kind=FindingKind.STUCK, detail__row__state=State.COMPLETING)
    | Q(kind=FindingKind.STUCK, detail__reason=BACK)
)
NO_LONGER = "no longer differs"


@dataclass(frozen=True, slots=True)
class Repaired:
    """The report whose findings were processed, how many this run repaired, and how many remain."""

    report: Report
    repaired: int
    remaining: int


def repair(scope: Scope, *, max_repairs: int | None, on_result: Callable[[Finding, str], None]) -> Repaired:
    """Repair the provable findings of the last complete run of this scope, each after a recheck.

    `on_result` is called with each finding and its outcome. Safe to repeat and to interrupt: the next call continues
    with the remaining findings. Raises RunRefused if there is no such run, or if there are more findings than is
    plausible, or than `max_repairs`; StorageUnavailable, DatabaseError.
    """
    try:
        require_marker(scope.store)
        require_removal()
    except (WrongMarker, ValidationFailed, Paused) as problem:
        raise RunRefused(problem.message) from problem
    report = complete_run(scope)
    open_findings = Finding.objects.filter(PROVABLE, report=report, repaired_by="")
    _require_plausible(scope, open_findings.count(), max_repairs)
    repaired = 0
    for batch in in_batches(open_findings, BATCH_SIZE):
        verdicts = recheck([finding.key for finding in batch], store=scope.store, grace=scope.grace)
        by_key = {verdict.key: verdict for verdict in verdicts}
        repaired += sum(_settle_finding(finding, by_key.get(finding.key), scope, on_result) for finding in batch)
    remaining = report.findings.filter(repaired_by="").count()
    summary = {**report.summary, "repaired": report.findings.exclude(repaired_by="").count()}
    Report.objects.filter(pk=report.pk).update(summary=summary)  # `ended_at` stays that of the comparison
    return Repaired(report, repaired, remaining)


def complete_run(scope: Scope) -> Report:
    """Return the last complete run of this scope. Raises RunRefused unless it ended in the last 24 hours."""
    runs = Report.objects.filter(command=COMMAND, scope=str(scope))
    report = runs.filter(
        outcome__in=[RunOutcome.SUCCEEDED, RunOutcome.DIFFERENCES], ended_at__gt=Now() - VALID_FOR
    ).first()
    if report is None:
        raise RunRefused("No complete fsck run with the same options in the last 24 hours. Run `manage.py fsck` first.")
    return report


def _require_plausible(scope: Scope, count: int, max_repairs: int | None) -> None:
    """Raise RunRefused for many findings: a bug or a wrong bucket would show as many differences."""
    in_scope = Q(store=scope.store, key__gte=scope.prefix, key__lte=scope.prefix + LAST_CHARACTER)
    with statement_timeout(BLOCK_SECONDS):
        rows = File.objects.filter(in_scope).count() + Preview.objects.filter(in_scope).count()
    if max_repairs is not None:
        if count > max_repairs:
            raise RunRefused(f"There are {count:,} findings to repair, but --max-repairs is {max_repairs:,}.")
    elif count * 100 > rows * MAX_PERCENT:
        raise RunRefused(
            f"There are {count:,} findings to repair, more than {MAX_PERCENT} % of {rows:,} rows. If this is the right "
            f"bucket and the right database, run again with --max-repairs {count}."
        )


def _settle_finding(
    finding: Finding, verdict: KeyVerdict | None, scope: Scope, on_result: Callable[[Finding, str], None]
) -> bool:
    """Return whether the finding is settled now. `on_result` gets the reason for one that cannot be."""
    if verdict is None or verdict.kind != finding.kind:
        if verdict is not None and verdict.skip_reason == "young":
            on_result(finding, "skipped: changed recently")
            return False
        return _record(finding, NO_LONGER, on_result)
    try:
        outcome = _repair_finding(verdict.snapshot, scope)
    except Conflict as problem:
        on_result(finding, problem.message)
        return False
    return _record(finding, outcome, on_result)


def _repair_finding(snapshot: Snapshot, scope: Scope) -> str:
    """Repair one finding. Return the outcome, or "" if its row or object has changed."""
    if snapshot.row is None:
        return _quarantine(snapshot, scope)
    if snapshot.key.startswith(PREVIEW_PREFIX):
        return _remake_preview(snapshot)
    if snapshot.row.state == State.COMPLETING:
        return _resolve(snapshot.row.file_id)
    return _mark_present(snapshot) if snapshot.row.marked else _mark_missing(snapshot)


def _record(finding: Finding, outcome: str, on_result: Callable[[Finding, str], None]) -> bool:
    if outcome:
        Finding.objects.filter(pk=finding.pk).update(repaired_by=outcome)
        quoted = field_value(finding.key)
        logger.info("fsck_repaired kind=%s key=%s file=%s by=%s", finding.kind, quoted, finding.file_id, outcome)
    on_result(finding, outcome or "skipped: changed during the repair")
    return bool(outcome)


# --- what is provable -------------------------------------------------------------------------


def _resolve(pk: UUID) -> str:
    """Complete, reopen or give up a stuck upload, by what the storage has."""
    file = File.objects.filter(pk=pk).first()
    if file is None:
        return ""
    resume_completion(file)
    current = File.objects.filter(pk=pk).first()
    outcomes = {State.AVAILABLE: "published", State.UPLOADING: "reopened", State.DELETING: "discarded"}
    outcome = outcomes.get(State(current.state), "") if current else "discarded"
    if outcome:
        Event.objects.record(Action.REPAIR, file=current or file, outcome=outcome)
    return outcome


def _mark_missing(snapshot: Snapshot) -> str:
    """Mark a file whose object is missing, so that pages say so instead of linking to an error of the storage."""
    return _set_checksum_status(snapshot, ChecksumStatus.MISSING, "marked as missing")


def _mark_present(snapshot: Snapshot) -> str:
    """Clear the mark of a file whose object exists again. Its checksum is unverified until the bytes are read."""
    return _set_checksum_status(snapshot, ChecksumStatus.UNVERIFIED, "marked as present")


def _set_checksum_status(snapshot: Snapshot, status: ChecksumStatus, outcome: str) -> str:
    if snapshot.row is None:
        return ""
    is_missing = Q(checksum_status=ChecksumStatus.MISSING)
    rows = File.objects.filter(
        ~is_missing if status == ChecksumStatus.MISSING else is_missing,
        pk=snapshot.row.file_id,
        store=snapshot.row.store,
    )
    with transaction.atomic():
        rows = rows.filter(state__in=STORED, etag=snapshot.row.etag, size=snapshot.row.size)
        if not rows.update(checksum_status=status, updated_at=Now()):
            return ""
        Event.objects.record(Action.REPAIR, file=File.objects.get(pk=snapshot.row.file_id), outcome=outcome)
    return outcome


def _remake_preview(snapshot: Snapshot) -> str:
    """Request a preview again: it can always be made from its file."""
    previews: QuerySet[Preview] = Preview.objects.filter(key=snapshot.key, state=PreviewState.READY)
    if snapshot.row is None or not previews.update(state=PreviewState.PENDING, lease_until=seconds_from_now(0)):
        return ""
    request_previews([snapshot.row.file_id])
    return "preview enqueued"


def _quarantine(snapshot: Snapshot, scope: Scope) -> str:
    """Copy the object and verify the copy; check the object and the rows once more; only then delete the object."""
    if snapshot.item is None:
        return ""
    s3.quarantine(snapshot.item, store=scope.store)
    unchanged = s3.head(snapshot.key, store=scope.store) == snapshot.item
    if not unchanged or rows_by_key([snapshot.key], grace=scope.grace):
        return ""
    removed = s3.delete(snapshot.key, etag=snapshot.item.etag, store=scope.store)
    return "moved to quarantine" if removed else ""
