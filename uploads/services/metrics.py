"""How the library stands, in numbers for whoever watches it: what is in which state and for how long, what waits, and
when each command last did its work. Each is a look into an index, or at a kept total: never a count of all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.backends.utils import CursorWrapper

from amalga.db import statement_timeout
from amalga.metrics.exposition import Sample

logger = logging.getLogger(__name__)

# Where it is counted, no further than this: what is more says no more.
MAX_COUNTED = 10_000
QUERY_SECONDS = 2.0
CACHE_SECONDS = 10.0
NAMESPACE = "Amalga"
MOVING = ("uploading", "completing", "deleting")

IN_STATE = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM uploads_file WHERE state = '{state}' LIMIT {most}) AS found),
       (SELECT extract(epoch FROM statement_timestamp() - min(updated_at)) FROM uploads_file WHERE state = '{state}')
"""
KEPT = "SELECT status, sum(files), sum(bytes) FROM uploads_figure WHERE kind = 'total' GROUP BY status"
OVERDUE_TRASH = """
SELECT coalesce(extract(epoch FROM statement_timestamp() - min(purge_after)), 0)
FROM uploads_file WHERE state = 'trashed' AND purge_after < statement_timestamp()
"""
UNREAD = """
SELECT count(*) FROM (
    SELECT 1 FROM uploads_file WHERE state = 'available' AND checksum_basis = 'claimed' LIMIT {most}) AS found
"""
TROUBLE = """
SELECT basis, count(*) FROM (
    SELECT checksum_basis AS basis FROM uploads_file
    WHERE state = 'available' AND checksum_basis IN ('damaged', 'missing') LIMIT {most}) AS found
GROUP BY basis
"""
# The queue's own word for what may be done at once (django_tasks_db.models.get_date_max); what waits for its time is
# not late.
AT_ONCE = "run_after = '9999-01-01 00:00:00+00'"
DUE = f"({AT_ONCE} OR run_after <= statement_timestamp())"
QUEUE = f"""
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM django_tasks_database_dbtaskresult WHERE status = 'READY' AND {DUE} LIMIT {{most}}) AS found),
       (SELECT extract(epoch FROM statement_timestamp() - min(since)) FROM (
            (SELECT enqueued_at AS since FROM django_tasks_database_dbtaskresult
             WHERE status = 'READY' AND {AT_ONCE}
             ORDER BY priority DESC, run_after, enqueued_at LIMIT 1)
            UNION ALL
            (SELECT run_after FROM django_tasks_database_dbtaskresult
             WHERE status = 'READY' AND run_after <= statement_timestamp()
             ORDER BY priority DESC, run_after, enqueued_at LIMIT 1)) AS oldest)
"""  # noqa: S608 - constants of ours
BEATS = "SELECT name, extract(epoch FROM at) FROM uploads_heartbeat"
REPORTS = """
SELECT said.command, extract(epoch FROM last.ended_at), (last.outcome = 'agreed')::int
FROM unnest(ARRAY['fsck', 'verify']) AS said (command), LATERAL (
    SELECT ended_at, outcome FROM uploads_report
    WHERE command = said.command AND ended_at IS NOT NULL AND outcome IN ('agreed', 'differences')
    ORDER BY id DESC LIMIT 1) AS last
"""


def gauges() -> list[Sample]:
    """All of them, or that they are not to be had. Asked of the database once in ten seconds, however often wanted."""
    return _cached_gauges.get()


def queue_now() -> tuple[int, float]:
    """How many tasks wait that could be worked at, and for how many seconds the oldest has."""
    with statement_timeout(QUERY_SECONDS) as cursor:
        return _queue(cursor)


def log_queue() -> None:
    """The same in one line of the log, which CloudWatch takes for a metric wherever it is written as JSON ("embedded
    metric format"): by it the number of workers follows the queue. Several workers say the same; their maximum counts.
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
    logger.info("queue_waits tasks=%s oldest_seconds=%.0f", tasks, age, extra={"fields": fields})


def _query() -> list[Sample]:
    began = time.monotonic()
    try:
        with statement_timeout(QUERY_SECONDS) as cursor:
            told = [*_states(cursor), *_work(cursor), *_commands(cursor)]
    except DatabaseError as fault:
        logger.warning("library_not_told fault=%s", type(fault).__name__)
        connection.close()
        return [Sample("library_up", 0, help="Whether the database told the numbers below.")]
    took = time.monotonic() - began
    return [Sample("library_up", 1, help="Whether the database told the numbers below."), *told,
            Sample("library_seconds", took, help="How long the database took to tell them.")]  # fmt: skip


def _states(cursor: CursorWrapper) -> Iterator[Sample]:
    files, oldest = f"Files in a state; at most {MAX_COUNTED} are counted of what moves.", "Age of the oldest, in s."
    for state in MOVING:
        count, age = _row(cursor, IN_STATE.format(state=state, most=MAX_COUNTED))
        yield Sample("files", count, {"state": state}, files)
        yield Sample("oldest_seconds", age or 0, {"state": state}, oldest)
    cursor.execute(KEPT)
    kept = {status: (number, size) for status, number, size in cursor.fetchall()}
    for state, status in (("available", "stored"), ("version", "version"), ("trashed", "trashed")):
        number, size = kept.get(status, (0, 0))
        yield Sample("files", number, {"state": state}, files)
        yield Sample("bytes", size, {"state": state}, "Bytes of the files in a state.")


def _work(cursor: CursorWrapper) -> Iterator[Sample]:
    (overdue,) = _row(cursor, OVERDUE_TRASH)
    yield Sample("trash_overdue_seconds", overdue, help="For how long the oldest in the trash should have been purged.")
    (unread,) = _row(cursor, UNREAD.format(most=MAX_COUNTED))
    yield Sample("unread_files", unread, help="Files whose checksum is only what their sender said.")
    cursor.execute(TROUBLE.format(most=MAX_COUNTED))
    trouble = dict(cursor.fetchall())
    for basis in ("damaged", "missing"):
        yield Sample("trouble_files", trouble.get(basis, 0), {"what": basis}, "Files whose bytes are not as they were.")
    count, age = _queue(cursor)
    yield Sample("queue_tasks", count, help="Tasks that wait for a worker.")
    yield Sample("queue_oldest_seconds", age, help="For how long the oldest of them has waited.")


def _commands(cursor: CursorWrapper) -> Iterator[Sample]:
    cursor.execute(BEATS)
    for name, at in cursor.fetchall():
        yield Sample("last_at_work_timestamp_seconds", at, {"command": name}, "When it was last at work.")
    cursor.execute(REPORTS)
    for command, at, agreed in cursor.fetchall():
        yield Sample("last_report_timestamp_seconds", at, {"command": command}, "When it last came to its end.")
        yield Sample("last_report_agreed", agreed, {"command": command}, "Whether it found nothing wrong then.")


def _queue(cursor: CursorWrapper) -> tuple[int, float]:
    count, age = _row(cursor, QUEUE.format(most=MAX_COUNTED))
    return int(count), max(0.0, float(age or 0))


def _row(cursor: CursorWrapper, query: str) -> tuple[float, ...]:
    cursor.execute(query)
    row: tuple[float, ...] = cursor.fetchone()
    return row


class _TTLCache:
    """One question for all who ask within some seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[Sample] = []
        self._asked_at = float("-inf")

    def get(self) -> list[Sample]:
        with self._lock:
            if time.monotonic() - self._asked_at > CACHE_SECONDS:
                self._known, self._asked_at = _query(), time.monotonic()
            return self._known


def forget() -> None:
    """As if nobody had asked yet."""
    global _cached_gauges
    _cached_gauges = _TTLCache()


_cached_gauges = _TTLCache()
