"""Mending what a run of fsck found, where it is provable what is right. Nothing is lost by any of it: no object is
removed but one that has a copy under `quarantine/`, and no row is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from amalga.db import fetch_with_timeout
from amalga.log import field_value
from uploads import s3
from uploads.errors import Conflict, Paused, ValidationFailed, WrongMarker
from uploads.models import (
    Action,
    ChecksumStatus,
    Event,
    File,
    Finding,
    Preview,
    PreviewState,
    Report,
    RunOutcome,
    State,
    Trouble,
)
from uploads.models.file import STORED
from uploads.models.querysets import seconds_from_now
from uploads.services.assemble import resume_completion
from uploads.services.bucket_owner import require_marker
from uploads.services.fsck.recheck import BACK, Snapshot, Verdict, recheck
from uploads.services.fsck.run import COMMAND, Refused, Scope
from uploads.services.fsck.streams import BLOCK_SECONDS, END_OF_TIME, PREVIEWS, rows_of
from uploads.services.preview_tasks import request_previews
from uploads.services.restore_guard import require_removal

logger = logging.getLogger(__name__)

VALID_FOR = timedelta(hours=24)
MAX_PERCENT = 1
BATCH = 200
PROVABLE = (
    Q(trouble__in=[Trouble.MISSING, Trouble.ORPHAN])
    | Q(trouble=Trouble.STUCK, detail__row__state=State.COMPLETING)
    | Q(trouble=Trouble.STUCK, detail__why=BACK)
)
NO_LONGER = "no longer so"
COUNT = """
SELECT (SELECT count(*) FROM uploads_file WHERE store = %(store)s AND key >= %(prefix)s AND key <= %(end)s)
    + (SELECT count(*) FROM uploads_preview WHERE store = %(store)s AND key >= %(prefix)s AND key <= %(end)s)"""


@dataclass(frozen=True, slots=True)
class Repaired:
    """The report whose findings were worked through, how many were mended now, and how many are left as they are."""

    report: Report
    mended: int
    left: int


def repair(scope: Scope, *, named: int | None, tell: Callable[[Finding, str], None]) -> Repaired:
    """Mend the findings of the last complete run of this scope that are provable, each after another look.

    `tell` hears of each finding what became of it. Safe to repeat and to end anywhere: it goes on with what is left.
    Raises Refused when there is no such run, or when it is too much to mend without being `named` as a number;
    StorageUnavailable, DatabaseError.
    """
    try:
        require_marker(scope.store)
        require_removal()
    except (WrongMarker, ValidationFailed, Paused) as problem:
        raise Refused(problem.message) from problem
    report = complete_run(scope)
    open_ones = Finding.objects.filter(PROVABLE, report=report, mended="")
    _require_modest(scope, open_ones.count(), named)
    mended, last = 0, 0
    while some := list(open_ones.filter(pk__gt=last).order_by("pk")[:BATCH]):
        verdicts = recheck([finding.key for finding in some], store=scope.store, grace=scope.grace)
        by_key = {verdict.key: verdict for verdict in verdicts}
        mended += sum(_repair_batch(finding, by_key.get(finding.key), scope, tell) for finding in some)
        last = some[-1].pk
    left = report.findings.filter(mended="").count()
    summary = {**report.summary, "mended": report.findings.exclude(mended="").count()}
    Report.objects.filter(pk=report.pk).update(summary=summary)  # it ended when the comparison did
    return Repaired(report, mended, left)


def complete_run(scope: Scope) -> Report:
    """The last one of this scope, if it is of the last 24 hours; else Refused."""
    runs = Report.objects.filter(command=COMMAND, scope=str(scope))
    last = runs.filter(outcome__in=[RunOutcome.AGREED, RunOutcome.DIFFERENCES], ended_at__gt=Now() - VALID_FOR).first()
    if last is None:
        raise Refused("This needs a complete run of the last 24 hours: run fsck with the same scope first.")
    return last


def _require_modest(scope: Scope, count: int, named: int | None) -> None:
    """A mistake of ours, or a bucket that is not the right one, would show as many differences."""
    end = scope.prefix + END_OF_TIME
    asked = {"store": scope.store, "prefix": scope.prefix, "end": end}
    ((rows,),) = fetch_with_timeout(COUNT, asked, seconds=BLOCK_SECONDS)
    if named is not None and named != count:
        raise Refused(f"--mend says {named:,}, but there are {count:,} findings to mend. Nothing was changed.")
    if named is None and count * 100 > rows * MAX_PERCENT:
        raise Refused(
            f"{count:,} findings to mend are more than {MAX_PERCENT} % of {rows:,} rows. Look at report and settings: "
            f"is it the right bucket, and the right database? If so, run it again with --mend {count}."
        )


def _repair_batch(
    finding: Finding, verdict: Verdict | None, scope: Scope, tell: Callable[[Finding, str], None]
) -> bool:
    """Whether the finding is settled now. One that cannot be is told with the reason."""
    if verdict is None or verdict.trouble != finding.trouble:
        if verdict is not None and verdict.left == "young":
            tell(finding, "changed a short time ago: left alone")
            return False
        return _note(finding, NO_LONGER, tell)
    try:
        done = _repaired_line(verdict.sight, scope)
    except Conflict as problem:
        tell(finding, problem.message)
        return False
    return _note(finding, done, tell)


def _repaired_line(sight: Snapshot, scope: Scope) -> str:
    """Mend it; in a word, how. Empty when it was too late for that."""
    if sight.row is None:
        return _quarantine(sight, scope)
    if sight.key.startswith(PREVIEWS):
        return _make_again(sight)
    if sight.row.state == State.COMPLETING:
        return _resolve(sight.row.file_id)
    return _unmark(sight) if sight.row.marked else _mark(sight)


def _note(finding: Finding, done: str, tell: Callable[[Finding, str], None]) -> bool:
    if done:
        Finding.objects.filter(pk=finding.pk).update(mended=done)
        quoted = field_value(finding.key)
        logger.info("fsck_mended trouble=%s key=%s file=%s by=%s", finding.trouble, quoted, finding.file_id, done)
    tell(finding, done or "changed meanwhile: left alone")
    return bool(done)


# --- what is provable -------------------------------------------------------------------------


def _resolve(pk: UUID) -> str:
    """Publish a finished upload, or whatever else the store shows to be right."""
    file = File.objects.filter(pk=pk).first()
    if file is None:
        return ""
    resume_completion(file)
    now = File.objects.filter(pk=pk).first()
    done = {State.AVAILABLE: "published", State.UPLOADING: "opened again", State.DELETING: "given up"}
    told = done.get(State(now.state), "") if now else "given up"
    if told:
        Event.objects.record(Action.REPAIR, file=now or file, what=told)
    return told


def _mark(sight: Snapshot) -> str:
    """Its object is not there: people are told so, instead of getting an error of the store's."""
    return _rebase(sight, ChecksumStatus.MISSING, "marked as missing")


def _unmark(sight: Snapshot) -> str:
    """The object is there again, as the row says. Its bytes are only a claim until they are read."""
    basis = ChecksumStatus.CLAIMED if sight.row and sight.row.checksum else ChecksumStatus.UNREAD
    return _rebase(sight, basis, "there again")


def _rebase(sight: Snapshot, basis: ChecksumStatus, told: str) -> str:
    if sight.row is None:
        return ""
    was = Q(checksum_basis=ChecksumStatus.MISSING)
    same = File.objects.filter(
        ~was if basis == ChecksumStatus.MISSING else was, pk=sight.row.file_id, store=sight.row.store
    )
    with transaction.atomic():
        same = same.filter(state__in=STORED, etag=sight.row.etag, size=sight.row.size)
        if not same.update(checksum_basis=basis, updated_at=Now()):
            return ""
        Event.objects.record(Action.REPAIR, file=File.objects.get(pk=sight.row.file_id), what=told)
    return told


def _make_again(sight: Snapshot) -> str:
    """A preview is made of its file: it may as well be made once more."""
    previews: QuerySet[Preview] = Preview.objects.filter(key=sight.key, state=PreviewState.READY)
    if sight.row is None or not previews.update(state=PreviewState.MAKING, lease_until=seconds_from_now(0)):
        return ""
    request_previews([sight.row.file_id])
    return "to be made again"


def _quarantine(sight: Snapshot, scope: Scope) -> str:
    """Copy, look at the copy, look once more at the object and for a row; only then the object goes."""
    if sight.item is None:
        return ""
    s3.quarantine(sight.item, store=scope.store)
    unchanged = s3.head(sight.key, store=scope.store) == sight.item
    if not unchanged or rows_of([sight.key], grace=scope.grace):
        return ""
    removed = s3.delete(sight.key, etag=sight.item.etag, store=scope.store)
    return "moved to quarantine" if removed else ""
