"""Compare bucket and database in one merged pass over two sorted streams, and record the differences in a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import Error, transaction
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from amalga.db import DAY_SECONDS, statement_timeout
from uploads import s3
from uploads.errors import ListingOutOfOrder, Problem, ValidationFailed, WrongMarker
from uploads.keys import ROW_PREFIXES
from uploads.models import File, Finding, Heartbeat, NotificationKind, Origin, Report, RunOutcome
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_guard import require_marker
from uploads.services.fsck.diff import KeyVerdict, StoreComparison, multipart_verdicts
from uploads.services.fsck.lines import LAST_CHARACTER, Tally
from uploads.services.notifications import notify_operators

logger = logging.getLogger(__name__)

COMMAND = "fsck"
GRACE_SECONDS = 3600
MAX_REPORTS = 100
SAVE_SECONDS = 2.0
# A "running" report that was not saved for so long belongs to a process that was killed.
LEASE_LOST_SECONDS = 60


class RunRefused(Problem):
    """Nothing was compared, because bucket and database do not belong together, or this is unknown."""

    code = "refused"
    status_code = 409


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: the keys of this store that begin with `prefix`, or all of our keys.

    Rows and objects that were written less than `grace` seconds ago are left alone.
    """

    store: str
    prefix: str = ""
    grace: float = GRACE_SECONDS

    def __str__(self) -> str:
        """Return the scope as reports store it, without the name of the main store."""
        return self.prefix if self.store == s3.main_store().name else f"{self.store}:{self.prefix}"

    def prefixes(self) -> list[str]:
        """Return the prefixes that rows have keys under: our two, or the whole bucket once files were imported."""
        if self.prefix:
            return [self.prefix]
        imported = File.objects.filter(store=self.store).exclude(origin=Origin.UPLOADED).exists()
        return [""] if imported else list(ROW_PREFIXES)


@dataclass(frozen=True, slots=True)
class RunObserver:
    """Callbacks for each finding, and for the number of keys that were compared."""

    on_finding: Callable[[Finding], None] = lambda _finding: None
    on_progress: Callable[[int], None] = lambda _keys: None


def fsck(scope: Scope, observer: RunObserver, *, resume: bool = False, allow_empty_database: bool = False) -> Report:
    """Compare bucket and database, and record the findings in a report: in sync, or with differences.

    Writes only reports, and nothing to the bucket. Safe to repeat, to interrupt and to run several times at once.
    Raises RunRefused (the report then has the reason), StorageUnavailable, DatabaseError: the report is stopped, and a
    run with `resume` continues it. Takes as long as listing the bucket; memory does not grow with the bucket. Compare
    a hundred million objects with 16 or 256 runs at once, each with its own prefix (`f/0` to `f/f`, or `f/00` to
    `f/ff`, and `p/`): each has its own counts and digests.
    """
    report = _resume_report(scope) if resume else Report.objects.create(command=COMMAND, scope=str(scope))
    started = time.monotonic()
    comparison = StoreComparison(scope.store, grace=scope.grace)
    try:
        _require_same_library(scope, allow_empty_database=allow_empty_database)
        _compare(report, scope, comparison, observer)
    except (WrongMarker, ValidationFailed, RunRefused, ListingOutOfOrder) as problem:
        report.end(RunOutcome.REFUSED, reason=problem.message)
        raise RunRefused(problem.message) from problem
    except BaseException:
        with suppress(Error):
            report.end(RunOutcome.STOPPED, **_stats(report, comparison, started))
        raise
    has_findings = report.findings.exists()
    report.end(RunOutcome.DIFFERENCES if has_findings else RunOutcome.SUCCEEDED, **_stats(report, comparison, started))
    Heartbeat.objects.beat(COMMAND)
    if has_findings:
        _notify(report)
    _delete_old_reports(scope)
    logger.info("fsck_completed scope=%s outcome=%s objects=%s", scope, report.outcome, comparison.objects.count)
    return report


def _notify(report: Report) -> None:
    """Notify operators once a day, since a library can be compared by many runs at once."""
    with transaction.atomic():
        notify_operators(
            NotificationKind.DRIFT_FOUND,
            key=f"{timezone.now():%Y-%m-%d}",
            report=report.pk,
            count=report.findings.count(),
        )


def _resume_report(scope: Scope) -> Report:
    """Reopen the last report of this scope. Raises RunRefused unless its run was stopped or killed."""
    report = Report.objects.filter(command=COMMAND, scope=str(scope)).first()
    interrupted = Q(outcome=RunOutcome.STOPPED) | Q(
        Q(ended_at=None, started_at__lt=seconds_from_now(-LEASE_LOST_SECONDS))
        | Q(ended_at__lt=seconds_from_now(-LEASE_LOST_SECONDS)),
        outcome=RunOutcome.RUNNING,
    )
    if report is None or not Report.objects.filter(interrupted, pk=report.pk).update(
        outcome=RunOutcome.RUNNING, ended_at=Now()
    ):
        raise RunRefused(
            "No stopped run with these options. Run without --resume. (A killed run counts as stopped after a minute.)"
        )
    report.outcome = RunOutcome.RUNNING
    report.summary = {"since": report.cursor} if report.cursor else {}
    return report


def _require_same_library(scope: Scope, *, allow_empty_database: bool) -> None:
    """Check that bucket and database belong together.

    Raises WrongMarker, ValidationFailed, RunRefused, StorageUnavailable.
    """
    require_marker(scope.store)
    _require_configured_stores(scope)
    if allow_empty_database or File.objects.filter(store=scope.store).exists():
        return
    if any(next(s3.list_objects(prefix, store=scope.store), None) for prefix in ROW_PREFIXES):
        raise RunRefused(
            "The database has no files, but the bucket has objects of files. Restore the database, or run "
            "`manage.py rebuild_rows`. If the files were deleted, run again with --allow-empty-database."
        )


def _require_configured_stores(scope: Scope) -> None:
    """Raise RunRefused for rows of a store that no setting names: no run compares them, and no one can read them."""
    names = {store.name for store in (s3.main_store(), s3.secondary_store()) if store}
    rows = File.objects.exclude(store__in=names)
    if scope.prefix:
        rows = rows.filter(key__gte=scope.prefix, key__lt=scope.prefix + LAST_CHARACTER)
    with statement_timeout(DAY_SECONDS):
        name = rows.values_list("store", flat=True).order_by().first()
    if name is not None:
        raise RunRefused(
            f"Some files are in a storage named “{name}”, which is not configured. Set S3_STORE_NAME to that name, or "
            "configure it with SECONDARY_S3_STORE_NAME and the other SECONDARY_S3_* variables."
        )


def _compare(report: Report, scope: Scope, comparison: StoreComparison, observer: RunObserver) -> None:
    saved = time.monotonic()
    for prefix in scope.prefixes():
        if report.cursor >= prefix + LAST_CHARACTER:
            continue
        for step in comparison.run(prefix, after=report.cursor):
            report.cursor = step.upto
            if step.findings or time.monotonic() > saved + SAVE_SECONDS:
                _save(report, step.findings, observer)
                saved = time.monotonic()
            observer.on_progress(max(step.rows, step.objects))
    for verdicts in multipart_verdicts(scope.prefix, store=scope.store, grace=scope.grace):
        _save(report, verdicts, observer)


def _save(report: Report, verdicts: list[KeyVerdict], observer: RunObserver) -> None:
    """Save findings and cursor in one transaction, so that a resumed run neither repeats nor misses a finding."""
    rows = [
        Finding(report=report, kind=verdict.kind, key=verdict.key, file_id=verdict.file_id, detail=verdict.detail)
        for verdict in verdicts
        if verdict.kind
    ]
    with transaction.atomic():
        Finding.objects.bulk_create(rows, batch_size=1000)
        Report.objects.filter(pk=report.pk).update(cursor=report.cursor, ended_at=Now())
    for row in rows:
        observer.on_finding(row)


def _stats(report: Report, comparison: StoreComparison, started: float) -> dict[str, Any]:
    """Return the totals of both sides; after a `resume`, only of the keys from `since` on."""
    counts = report.findings.order_by().values_list("kind").annotate(count=Count("pk"))
    return {
        "rows": _tally_summary(comparison.rows),
        "objects": _tally_summary(comparison.objects),
        "skipped": {reason: count for reason, count in comparison.skipped.items() if count},
        "findings": dict(counts),
        "seconds": round(time.monotonic() - started, 2),
    }


def _tally_summary(tally: Tally) -> dict[str, Any]:
    return {"count": tally.count, "bytes": tally.bytes, "sha256": tally.digest}


def _delete_old_reports(scope: Scope) -> None:
    """Delete all but the last hundred reports of this scope."""
    reports = Report.objects.filter(command=COMMAND, scope=str(scope))
    oldest_kept = list(reports.order_by("-id").values_list("id", flat=True)[MAX_REPORTS - 1 : MAX_REPORTS])
    for report_id in oldest_kept:
        reports.filter(id__lt=report_id).delete()


SKIP_REASONS = {
    "moving": _("objects of files being uploaded or deleted"),
    "young": _("too new to check"),
    "changed": _("changed during the check"),
    "elsewhere": _("being moved to or from another bucket"),
    "marked": _("already marked as missing"),
    "others": _("other objects, outside f/ and p/"),
}


def describe_unrepaired(skipped: Mapping[str, int]) -> list[str]:
    """Return one line per reason, for example `12 too young to be judged`."""
    return [f"{count:,} {SKIP_REASONS[reason]}" for reason, count in skipped.items() if reason in SKIP_REASONS]
