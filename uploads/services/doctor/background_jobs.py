"""Check that background jobs run, and that they keep up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django_tasks.base import TASK_MIN_PRIORITY
from django_tasks_db.models import DBTaskResult

from uploads import s3
from uploads.errors import StorageDenied, StorageUnavailable, ValidationFailed
from uploads.humanize import humanize_duration, humanize_time
from uploads.keys import CHECKPOINT_KEY
from uploads.models import Event, File, Heartbeat, State
from uploads.services.bucket_guard import contains_event, stored_checkpoint
from uploads.services.doctor.results import CheckResult, fail, ok, warn

# each starts or polls at least once a minute
LATE = timedelta(minutes=10)
# for nightly jobs, with one night to spare
NIGHTLY_LATE = timedelta(hours=50)
# for a weekly job, with one week to spare
FSCK_LATE = timedelta(days=15)
ADVICE = {
    "sweep": "keep `manage.py sweep --every 60` running",
    "worker": "keep `manage.py worker` running",
    "verify": "run `manage.py verify --sample 1/30` every night",
    "fsck": "run `manage.py fsck` every week",
}


def _since(field: str) -> ExpressionWrapper[Any]:
    """Return the time since `field`, by the database's clock."""
    return ExpressionWrapper(Now() - F(field), output_field=DurationField())


def _heartbeat_result(name: str, late: timedelta, effect: str) -> Iterable[CheckResult]:
    ages = dict(Heartbeat.objects.filter(name=name).annotate(age=_since("at")).values_list("name", "age"))
    if name not in ages:
        yield warn(name, f"never ran: {effect}", ADVICE[name])
    elif ages[name] > late:
        yield warn(name, f"last ran {humanize_duration(ages[name].total_seconds())} ago: {effect}", ADVICE[name])
    else:
        yield ok(name, f"ran {humanize_duration(max(0.0, ages[name].total_seconds()))} ago")


def _sweep() -> Iterable[CheckResult]:
    return _heartbeat_result("sweep", LATE, "uploads do not expire, and the trash is not purged")


def _worker() -> Iterable[CheckResult]:
    return _heartbeat_result("worker", LATE, "previews, mail, malware checks and large folders wait")


def _verify() -> Iterable[CheckResult]:
    yield from _heartbeat_result("verify", NIGHTLY_LATE, "stored files are not verified")
    overdue = File.objects.available().unverified().filter(available_at__lt=Now() - LATE).count()
    if overdue:
        yield warn("verify", f"{_count(overdue, 'file was', 'files were')} never verified", ADVICE["worker"])


def _fsck() -> Iterable[CheckResult]:
    return _heartbeat_result("fsck", FSCK_LATE, "bucket and database were not compared")


def _queue() -> Iterable[CheckResult]:
    waiting = DBTaskResult.objects.ready()
    count = waiting.count()
    # of the lowest priority is work that no person waits for
    urgent = waiting.filter(priority__gt=TASK_MIN_PRIORITY)
    age = urgent.order_by("enqueued_at").annotate(age=_since("enqueued_at")).values_list("age", flat=True).first()
    if age and age > LATE:
        reason = (
            f"{_count(count, 'task is', 'tasks are')} waiting, the oldest for {humanize_duration(age.total_seconds())}"
        )
        yield warn("queue", reason, "run more workers, and check the failed tasks under /admin/")
    else:
        yield ok("queue", f"{_count(count, 'task is', 'tasks are')} waiting")


def _overdue() -> Iterable[CheckResult]:
    """Check for files that the sweep should have processed long ago."""
    late = Now() - LATE
    stuck = File.objects.filter(state=State.COMPLETING, lease_until__lt=late).count()
    erasing = File.objects.filter(state=State.DELETING, updated_at__lt=Now() - timedelta(hours=1)).count()
    if stuck or erasing:
        uploads = _count(stuck, "incomplete upload is", "incomplete uploads are")
        reason = f"{uploads} stuck, {_count(erasing, 'file waits', 'files wait')} for deletion"
        yield warn("stuck files", reason, "run `manage.py sweep`, and see sweep_failed in the log")
    else:
        yield ok("stuck files", "none")


def _purge() -> Iterable[CheckResult]:
    """Check that nothing pauses the purge: neither the setting, nor the checkpoint in the bucket."""
    if settings.PURGE_PAUSED:
        yield warn(
            "purge", "paused: PURGE_PAUSED is on, so nothing is deleted", "remove PURGE_PAUSED after the restore"
        )
    try:
        checkpoint = stored_checkpoint()
    except StorageUnavailable as fault:
        is_denied = isinstance(fault, StorageDenied)
        advice = f"allow s3:GetObject on {CHECKPOINT_KEY}" if is_denied else "fix the storage (see below)"
        yield warn("purge", f"paused: the checkpoint in the bucket cannot be read ({fault.detail})", advice)
    except ValidationFailed:
        yield fail(
            "purge",
            f"paused: {CHECKPOINT_KEY} is not a valid checkpoint",
            "run `manage.py after_restore --apply` to replace it",
        )
    else:
        yield _checkpoint_result(checkpoint)


def _checkpoint_result(checkpoint: s3.Checkpoint | None) -> CheckResult:
    newest = Event.objects.first()
    if checkpoint is None or newest is None:
        return ok("purge", "no checkpoint yet")
    if not contains_event(checkpoint):
        event = f"event {checkpoint.event} from {humanize_time(checkpoint.at)}"
        reason = f"paused: the database is older than the bucket, {event} is not in it"
        return fail("purge", reason, "run `manage.py after_restore`")
    late = newest.at - checkpoint.at
    if late > LATE and newest.at < datetime.now(UTC) - LATE:
        advice = f"run the sweep, and allow it s3:PutObject on {CHECKPOINT_KEY}"
        return warn(
            "purge",
            f"the checkpoint is {humanize_duration(late.total_seconds())} behind the database",
            advice,
        )
    return ok("purge", f"the database is up to date with the checkpoint of {humanize_time(checkpoint.at)}")


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"


WORK: tuple[tuple[str, Callable[[], Iterable[CheckResult]]], ...] = (
    ("sweep", _sweep),
    ("worker", _worker),
    ("verify", _verify),
    ("fsck", _fsck),
    ("queue", _queue),
    ("stuck files", _overdue),
    ("purge", _purge),
)
