"""One run of fsck from its report's first line to its last."""

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
from django.utils.translation import gettext_lazy as _

from amalga.db.timeouts import long_transaction
from uploads import s3
from uploads.errors import ListingOutOfOrder, Problem, ValidationFailed, WrongMarker
from uploads.models import File, Finding, Heartbeat, Origin, Report, RunOutcome
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_owner import require_marker
from uploads.services.fsck.diff import Comparison
from uploads.services.fsck.recheck import OURS, Verdict, orphaned_multiparts
from uploads.services.fsck.streams import END_OF_TIME, Tally

logger = logging.getLogger(__name__)

COMMAND = "fsck"
GRACE_SECONDS = 3600
KEPT_REPORTS = 100
SAVE_SECONDS = 2.0
# A report that is still "running" and was not written for so long belongs to a process that was killed.
LEASE_LOST_SECONDS = 60


class Refused(Problem):
    """Nothing was compared: the two do not belong together, or it cannot be told."""

    code = "refused"
    status_code = 409


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: the keys of the store of this name that begin with `prefix`; all that is ours without one.

    What was written less than `grace` seconds ago is left alone.
    """

    store: str
    prefix: str = ""
    grace: float = GRACE_SECONDS

    def __str__(self) -> str:
        """As the report has it: the main store goes without saying."""
        return self.prefix if self.store == s3.main_store().name else f"{self.store}:{self.prefix}"

    def prefixes(self) -> list[str]:
        """Where rows have objects: in our two parts of the bucket, or anywhere once something was brought in."""
        if self.prefix:
            return [self.prefix]
        imported = File.objects.filter(store=self.store).exclude(origin=Origin.UPLOADED).exists()
        return [""] if imported else list(OURS)


@dataclass(frozen=True, slots=True)
class RunObserver:
    """Who hears of findings as they come, and of how many keys are done."""

    found: Callable[[Finding], None] = lambda _finding: None
    done: Callable[[int], None] = lambda _keys: None


def fsck(scope: Scope, teller: RunObserver, *, resume: bool = False, empty_is_right: bool = False) -> Report:
    """Compare, and keep what was found in a report: agreed, or with differences.

    Nothing but reports is written, and nothing in the bucket. Safe to repeat, to end anywhere and to run several times
    at once. Raises Refused (what is wrong then stands in the report as well), StorageUnavailable, DatabaseError: the
    report is stopped then, and a run with `resume` goes on with it. Takes as long as the listing of the bucket;
    memory does not grow with it. A hundred million objects are compared by 16 or 256 runs at once, each with a prefix
    of its own (`f/0` to `f/f`, or `f/00` to `f/ff`, and `p/`): each has figures and digests of its own.
    """
    report = _stopped(scope) if resume else Report.objects.create(command=COMMAND, scope=str(scope))
    begun = time.monotonic()
    comparison = Comparison(scope.store, grace=scope.grace)
    try:
        _require_pair(scope, empty_is_right=empty_is_right)
        _compare(report, scope, comparison, teller)
    except (WrongMarker, ValidationFailed, Refused, ListingOutOfOrder) as problem:
        report.end(RunOutcome.REFUSED, reason=problem.message)
        raise Refused(problem.message) from problem
    except BaseException:
        with suppress(Error):
            report.end(RunOutcome.STOPPED, **_stats(report, comparison, begun))
        raise
    found = report.findings.exists()
    report.end(RunOutcome.DIFFERENCES if found else RunOutcome.AGREED, **_stats(report, comparison, begun))
    Heartbeat.objects.beat(COMMAND)
    _forget_old(scope)
    logger.info("fsck_done scope=%s outcome=%s objects=%s", scope, report.outcome, comparison.objects.count)
    return report


def _stopped(scope: Scope) -> Report:
    """The last report of this scope, to be gone on with. Raises Refused when that came to its end."""
    last = Report.objects.filter(command=COMMAND, scope=str(scope)).first()
    dead = Q(outcome=RunOutcome.STOPPED) | Q(
        Q(ended_at=None, started_at__lt=seconds_from_now(-LEASE_LOST_SECONDS))
        | Q(ended_at__lt=seconds_from_now(-LEASE_LOST_SECONDS)),
        outcome=RunOutcome.RUNNING,
    )
    if last is None or not Report.objects.filter(dead, pk=last.pk).update(outcome=RunOutcome.RUNNING, ended_at=Now()):
        raise Refused(
            "There is no stopped run of this scope to go on with. Run it without --resume. "
            "(One that was killed counts as stopped after a minute.)"
        )
    last.outcome = RunOutcome.RUNNING
    last.summary = {"since": last.cursor} if last.cursor else {}
    return last


def _require_pair(scope: Scope, *, empty_is_right: bool) -> None:
    """Return if bucket and database belong together. Raises WrongMarker, ValidationFailed, Refused,
    StorageUnavailable."""
    require_marker(scope.store)
    _require_configured_stores(scope)
    if empty_is_right or File.objects.filter(store=scope.store).exists():
        return
    if any(next(s3.list_objects(prefix, store=scope.store), None) for prefix in OURS):
        raise Refused(
            "The database has no files, but the bucket has objects of files. Restore the database, or run "
            "`manage.py rebuild_rows`. If the files are really gone, run it again with --expect-empty-database."
        )


def _require_configured_stores(scope: Scope) -> None:
    """Rows of a store that no variable names are compared by nobody, and their files cannot be read."""
    known = {store.name for store in (s3.main_store(), s3.secondary_store()) if store}
    rows = File.objects.exclude(store__in=known)
    if scope.prefix:
        rows = rows.filter(key__gte=scope.prefix, key__lt=scope.prefix + END_OF_TIME)
    with long_transaction():
        name = rows.values_list("store", flat=True).order_by().first()
    if name is not None:
        raise Refused(
            f"There are files in a store called “{name}”, which no variable names: nobody can read them. Call the main "
            "store so by S3_STORE_NAME, or name a second one by OTHER_S3_STORE_NAME and the other variables OTHER_S3_*."
        )


def _compare(report: Report, scope: Scope, comparison: Comparison, teller: RunObserver) -> None:
    saved = time.monotonic()
    for prefix in scope.prefixes():
        if report.cursor >= prefix + END_OF_TIME:
            continue
        for step in comparison.run(prefix, after=report.cursor):
            report.cursor = step.upto
            if step.found or time.monotonic() > saved + SAVE_SECONDS:
                _save(report, step.found, teller)
                saved = time.monotonic()
            teller.done(max(step.rows, step.objects))
    for found in orphaned_multiparts(scope.prefix, store=scope.store, grace=scope.grace):
        _save(report, found, teller)


def _save(report: Report, found: list[Verdict], teller: RunObserver) -> None:
    """Findings and how far they go, together: what is behind the cursor is found again, what is before is not."""
    rows = [
        Finding(report=report, trouble=one.trouble, key=one.key, file_id=one.file_id, detail=one.detail)
        for one in found
        if one.trouble
    ]
    with transaction.atomic():
        Finding.objects.bulk_create(rows, batch_size=1000)
        Report.objects.filter(pk=report.pk).update(cursor=report.cursor, ended_at=Now())
    for row in rows:
        teller.found(row)


def _stats(report: Report, comparison: Comparison, begun: float) -> dict[str, Any]:
    """What the two sides came to. After a `resume` of the rest only, from the key `since` on."""
    counts = report.findings.order_by().values_list("trouble").annotate(count=Count("pk"))
    return {
        "rows": _side(comparison.rows),
        "objects": _side(comparison.objects),
        "left": {why: count for why, count in comparison.left.items() if count},
        "found": dict(counts),
        "seconds": round(time.monotonic() - begun, 2),
    }


def _side(tally: Tally) -> dict[str, Any]:
    return {"count": tally.count, "bytes": tally.bytes, "sha256": tally.digest}


def _forget_old(scope: Scope) -> None:
    """Keep the last hundred reports of this scope."""
    reports = Report.objects.filter(command=COMMAND, scope=str(scope))
    first_kept = list(reports.order_by("-id").values_list("id", flat=True)[KEPT_REPORTS - 1 : KEPT_REPORTS])
    for oldest in first_kept:
        reports.filter(id__lt=oldest).delete()


LEFT = {
    "moving": _("objects of files that are being uploaded or removed"),
    "young": _("too young to be judged"),
    "changed": _("changed while they were looked at"),
    "elsewhere": _("being moved to or from another store"),
    "marked": _("marked as missing before, and still so"),
    "others": _("objects that are not ours, outside f/ and p/"),
}


def describe_unrepaired(left: Mapping[str, int]) -> list[str]:
    """One line for each reason, like `12 too young to be judged`."""
    return [f"{count:,} {LEFT[why]}" for why, count in left.items() if why in LEFT]
