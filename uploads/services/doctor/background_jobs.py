"""Check that background jobs run, and that they keep up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django_tasks_db.models import DBTaskResult

from uploads import s3
from uploads.errors import StorageDenied, StorageUnavailable, ValidationFailed
from uploads.humanize import humanize_duration
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
    "sweep": "run the Procfile's line: sweep: python manage.py sweep --every 60",
    "worker": "run the Procfile's line: worker: python manage.py worker",
    "verify": "run `manage.py verify --sample 1/30` each night",
    "fsck": "run `manage.py fsck`, best once a week",
}


def _since(field: str) -> ExpressionWrapper[Any]:
    """Return the time since `field`, by the database's clock."""
    return ExpressionWrapper(Now() - F(field), output_field=DurationField())


def _heartbeat_result(name: str, late: timedelta, effect: str) -> Iterable[CheckResult]:
    ages = dict(Heartbeat.objects.filter(name=name).annotate(age=_since("at")).values_list("name", "age"))
    if name not in ages:
        yield warn(name, f"it was never at work here: {effect}", ADVICE[name])
    elif ages[name] > late:
        yield warn(name, f"last at work {humanize_duration(ages[name].total_seconds())} ago: {effect}", ADVICE[name])
    else:
        yield ok(name, f"at work {humanize_duration(max(0.0, ages[name].total_seconds()))} ago")


def _sweep() -> Iterable[CheckResult]:
    return _heartbeat_result("sweep", LATE, "nothing expires, and what crashed stays as it is")


def _worker() -> Iterable[CheckResult]:
    return _heartbeat_result("worker", LATE, "there are no previews")


def _verify() -> Iterable[CheckResult]:
    yield from _heartbeat_result("verify", NIGHTLY_LATE, "nobody reads whether stored bytes are still the same")
    overdue = File.objects.available().unverified().filter(available_at__lt=Now() - LATE).count()
    if overdue:
        yield warn("verify", f"{overdue} files were never held against what their senders announced", ADVICE["worker"])


def _fsck() -> Iterable[CheckResult]:
    return _heartbeat_result("fsck", FSCK_LATE, "nobody has compared bucket and database lately")


def _queue() -> Iterable[CheckResult]:
    waiting = DBTaskResult.objects.ready()
    count = waiting.count()
    age = waiting.order_by("enqueued_at").annotate(age=_since("enqueued_at")).values_list("age", flat=True).first()
    if age and age > LATE:
        reason = f"{count} tasks wait, the oldest for {humanize_duration(age.total_seconds())}"
        yield warn("queue", reason, "run more workers; see the failed tasks under /admin/")
    else:
        yield ok("queue", f"{count} tasks wait")


def _overdue() -> Iterable[CheckResult]:
    """Check for files that the sweep should have processed long ago."""
    late = Now() - LATE
    stuck = File.objects.filter(state=State.COMPLETING, lease_until__lt=late).count()
    erasing = File.objects.filter(state=State.DELETING, updated_at__lt=Now() - timedelta(hours=1)).count()
    if stuck or erasing:
        reason = f"{stuck} files are stuck half finished, {erasing} wait to be erased"
        yield warn("left over", reason, "run `manage.py sweep` and read what it says of them")
    else:
        yield ok("left over", "no file waits for the sweep for long")


def _purge() -> Iterable[CheckResult]:
    """Check that nothing pauses the purge: neither the setting, nor the checkpoint in the bucket."""
    if settings.PURGE_PAUSED:
        yield warn("purge", "paused: nothing is expired, purged or erased", "remove PURGE_PAUSED after the restore")
    try:
        checkpoint = stored_checkpoint()
    except StorageUnavailable as fault:
        is_denied = isinstance(fault, StorageDenied)
        advice = f"allow s3:GetObject on {CHECKPOINT_KEY}" if is_denied else "see the line about the store"
        yield warn("purge", f"what the bucket remembers cannot be read ({fault.detail}), so none takes place", advice)
    except ValidationFailed as problem:
        yield fail("purge", f"{CHECKPOINT_KEY} is no checkpoint of Amalga's, so none takes place", problem.message)
    else:
        yield _checkpoint_result(checkpoint)


def _checkpoint_result(checkpoint: s3.Checkpoint | None) -> CheckResult:
    newest = Event.objects.first()
    if checkpoint is None or newest is None:
        return ok("purge", "the bucket remembers nothing of the database yet")
    if not contains_event(checkpoint):
        event = f"event {checkpoint.event} of {_format_time(checkpoint.at)}"
        reason = f"the database is older than the bucket: {event} is not in it"
        return fail("purge", reason, "run `manage.py after_restore`, and see docs/operate/backup-and-restore.md")
    late = newest.at - checkpoint.at
    if late > LATE and newest.at < datetime.now(UTC) - LATE:
        advice = f"let the sweep run, and allow it s3:PutObject on {CHECKPOINT_KEY}"
        return warn(
            "purge",
            f"what the bucket remembers is {humanize_duration(late.total_seconds())} behind the database",
            advice,
        )
    return ok("purge", f"the database knows all that the bucket remembers, up to {_format_time(checkpoint.at)}")


def _format_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


WORK: tuple[tuple[str, Callable[[], Iterable[CheckResult]]], ...] = (
    ("sweep", _sweep),
    ("worker", _worker),
    ("verify", _verify),
    ("fsck", _fsck),
    ("queue", _queue),
    ("left over", _overdue),
    ("purge", _purge),
)
