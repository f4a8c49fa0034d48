"""Gauges of the library for monitoring: files by state and their age, the task queue, and the last run of each command.

Each query reads an index or a stored total, and never counts all rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.backends.utils import CursorWrapper

from amalga.cache import TTLCache
from amalga.db import statement_timeout
from amalga.metrics import Sample

logger = logging.getLogger(__name__)

# Counts stop here: a larger number would say no more.
MAX_COUNTED = 10_000
QUERY_SECONDS = 2.0
CACHE_SECONDS = 10.0
NAMESPACE = "Amalga"
MOVING = ("uploading", "completing", "deleting")

FILES_IN_STATE = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM uploads_file WHERE state = '{state}' LIMIT {limit}) AS rows),
       (SELECT extract(epoch FROM statement_timestamp() - min(updated_at)) FROM uploads_file WHERE state = '{state}')
"""
TOTALS = "SELECT status, sum(files), sum(bytes) FROM uploads_statistic WHERE kind = 'total' GROUP BY status"
OVERDUE_TRASH = """
SELECT coalesce(extract(epoch FROM statement_timestamp() - min(purge_after)), 0)
FROM uploads_file WHERE state = 'trashed' AND purge_after < statement_timestamp()
"""
UNVERIFIED = """
SELECT count(*) FROM (
    SELECT 1 FROM uploads_file WHERE state = 'available' AND checksum_status = 'unverified'
        AND checksum <> '' LIMIT {limit}) AS rows
"""
UNSCANNED = """
SELECT count(*), coalesce(extract(epoch FROM statement_timestamp() - min(available_at)), 0) FROM (
    SELECT available_at FROM uploads_file WHERE scan_status = 'pending' LIMIT {limit}) AS rows
"""
QUARANTINED = """
SELECT scan_status, count(*) FROM (
    SELECT scan_status FROM uploads_file WHERE quarantined LIMIT {limit}) AS rows
GROUP BY scan_status
"""
BROKEN = """
SELECT checksum_status, count(*) FROM (
    SELECT checksum_status FROM uploads_file
    WHERE state = 'available' AND checksum_status IN ('corrupted', 'missing') LIMIT {limit}) AS rows
GROUP BY checksum_status
"""
# The queue's `run_after` of tasks without a delay (django_tasks_db.models.get_date_max); delayed tasks are not late.
UNDELAYED = "run_after = '9999-01-01 00:00:00+00'"
DUE = f"({UNDELAYED} OR run_after <= statement_timestamp())"
QUEUE = f"""
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM django_tasks_database_dbtaskresult WHERE status = 'READY' AND {DUE} LIMIT {{limit}}) AS rows),
       (SELECT extract(epoch FROM statement_timestamp() - min(since)) FROM (
            (SELECT enqueued_at AS since FROM django_tasks_database_dbtaskresult
             WHERE status = 'READY' AND {UNDELAYED}
             ORDER BY priority DESC, run_after, enqueued_at LIMIT 1)
            UNION ALL
            (SELECT run_after FROM django_tasks_database_dbtaskresult
             WHERE status = 'READY' AND run_after <= statement_timestamp()
             ORDER BY priority DESC, run_after, enqueued_at LIMIT 1)) AS oldest)
"""  # noqa: S608 - constants of ours
MAILS = """
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM uploads_outgoingmail WHERE state IN ('waiting', 'sending') LIMIT {limit}) AS rows),
       (SELECT count(*) FROM (
            SELECT 1 FROM uploads_outgoingmail WHERE state IN ('refused', 'abandoned', 'unknown')
                AND changed_at > statement_timestamp() - interval '1 day' LIMIT {limit}) AS rows)
"""
HEARTBEATS = "SELECT name, extract(epoch FROM at) FROM uploads_heartbeat"
REPORTS = """
SELECT known.command, extract(epoch FROM last.ended_at), (last.outcome = 'succeeded')::int
FROM unnest(ARRAY['fsck', 'verify']) AS known (command), LATERAL (
    SELECT ended_at, outcome FROM uploads_report
    WHERE command = known.command AND ended_at IS NOT NULL AND outcome IN ('succeeded', 'differences')
    ORDER BY id DESC LIMIT 1) AS last
"""


def gauges() -> list[Sample]:
    """Return all gauges, or `library_up` 0 if the database fails. Queried every ten seconds at most."""
    return _cached_gauges.get()


def queue_now() -> tuple[int, float]:
    """Return how many tasks are due, and for how many seconds the oldest has waited."""
    with statement_timeout(QUERY_SECONDS) as cursor:
        return _queue(cursor)


def log_queue() -> None:
    """Log the queue in one line that CloudWatch reads as a metric if logs are JSON ("embedded metric format").

    The number of workers scales with this metric. All workers log the same numbers, so alarms use the maximum.
    """
    tasks, age = queue_now()
    metrics = [{"Name": "QueueOldestSeconds", "Unit": "Seconds"}, {"Name": "QueueTasks", "Unit": "Count"}]
    # for an account with one installation, and for one with several
    directive = {"Namespace": NAMESPACE, "Dimensions": [[], ["Bucket"]], "Metrics": metrics}
    fields = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
        "Bucket": settings.S3_BUCKET,
        "QueueOldestSeconds": round(age, 1),
        "QueueTasks": tasks,
    }
    logger.info("queue_backlog tasks=%s oldest_seconds=%.0f", tasks, age, extra={"fields": fields})


def _query() -> list[Sample]:
    started = time.monotonic()
    try:
        with statement_timeout(QUERY_SECONDS) as cursor:
            samples = [*_states(cursor), *_backlog(cursor), *_command_runs(cursor)]
    except DatabaseError as fault:
        logger.warning("library_query_failed error=%s", type(fault).__name__)
        connection.close()
        return [Sample("library_query_success", 0, help="Whether the last query of these gauges succeeded.")]
    seconds = time.monotonic() - started
    return [Sample("library_query_success", 1, help="Whether the last query of these gauges succeeded."), *samples,
            Sample("library_query_seconds", seconds, help="Duration of that query.")]  # fmt: skip


def _states(cursor: CursorWrapper) -> Iterator[Sample]:
    files_help = f"Files in a state; unfinished ones are counted up to {MAX_COUNTED}."
    oldest_help = "Seconds since the oldest file in a state has changed."
    for state in MOVING:
        count, age = _row(cursor, FILES_IN_STATE.format(state=state, limit=MAX_COUNTED))
        yield Sample("files", count, {"state": state}, files_help)
        yield Sample("oldest_file_age_seconds", age or 0, {"state": state}, oldest_help)
    cursor.execute(TOTALS)
    totals = {status: (number, size) for status, number, size in cursor.fetchall()}
    for state, status in (("available", "stored"), ("version", "version"), ("trashed", "trashed")):
        number, size = totals.get(status, (0, 0))
        yield Sample("files", number, {"state": state}, files_help)
        yield Sample("file_bytes", size, {"state": state}, "Bytes of the files in a state.")


def _backlog(cursor: CursorWrapper) -> Iterator[Sample]:
    (overdue,) = _row(cursor, OVERDUE_TRASH)
    yield Sample("trash_overdue_seconds", overdue, help="Seconds since the oldest file in the trash is due.")
    (unverified,) = _row(cursor, UNVERIFIED.format(limit=MAX_COUNTED))
    yield Sample("unverified_files", unverified, help="Files with an unverified checksum.")
    cursor.execute(BROKEN.format(limit=MAX_COUNTED))
    broken = dict(cursor.fetchall())
    for status in ("corrupted", "missing"):
        yield Sample(
            "checksum_failed_files",
            broken.get(status, 0),
            {"status": status},
            "Files that failed verification.",
        )
    count, age = _row(cursor, UNSCANNED.format(limit=MAX_COUNTED))
    yield Sample("scan_pending_files", count, help="Files that wait for their malware check.")
    yield Sample("scan_oldest_age_seconds", age, help="Seconds since the oldest of them became available.")
    cursor.execute(QUARANTINED.format(limit=MAX_COUNTED))
    quarantined = dict(cursor.fetchall())
    for status in ("pending", "infected", "failed"):
        yield Sample("quarantined_files", quarantined.get(status, 0), {"status": status}, "Files in quarantine.")
    count, age = _queue(cursor)
    yield Sample("queue_tasks", count, help="Tasks that are due.")
    yield Sample("queue_oldest_age_seconds", age, help="Seconds since the oldest of them is due.")
    for state, mails in zip(("waiting", "failed"), _row(cursor, MAILS.format(limit=MAX_COUNTED)), strict=True):
        yield Sample("mails", mails, {"state": state}, "Mails that wait, and those that failed in the last day.")


def _command_runs(cursor: CursorWrapper) -> Iterator[Sample]:
    cursor.execute(HEARTBEATS)
    for name, at in cursor.fetchall():
        yield Sample("last_heartbeat_timestamp_seconds", at, {"command": name}, "Time of the last heartbeat.")
    cursor.execute(REPORTS)
    for command, at, in_sync in cursor.fetchall():
        yield Sample("last_report_timestamp_seconds", at, {"command": command}, "Time of the last complete report.")
        yield Sample("last_report_in_sync", in_sync, {"command": command}, "Whether it found no difference.")


def _queue(cursor: CursorWrapper) -> tuple[int, float]:
    count, age = _row(cursor, QUEUE.format(limit=MAX_COUNTED))
    return int(count), max(0.0, float(age or 0))


def _row(cursor: CursorWrapper, query: str) -> tuple[float, ...]:
    cursor.execute(query)
    row: tuple[float, ...] = cursor.fetchone()
    return row


_cached_gauges = TTLCache(_query, seconds=CACHE_SECONDS)


def clear_cache() -> None:
    _cached_gauges.clear()
