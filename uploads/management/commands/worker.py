"""Process the task queue."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError, connection
from django.utils.crypto import get_random_string
from django_tasks_db.management.commands.db_worker import Worker

from uploads.management.base import AmalgaCommand
from uploads.models import Heartbeat
from uploads.services.metrics import log_queue
from uploads.services.notifications import warn_of_sweep
from uploads.services.previews import clear_scratch

PAUSE_SECONDS = 1.0
UNAVAILABLE_PAUSE_SECONDS = 5.0
HEARTBEAT_NAME = "worker"
HEARTBEAT_SECONDS = 30.0
HEARTBEATS_PER_LOG_LINE = 2
HEARTBEATS_PER_SWEEP_CHECK = 20  # ten minutes, so that a sweep that is started with the worker has time to run


class Command(AmalgaCommand):
    help = "Run background tasks: previews, checksums, mail, malware checks."
    epilog = """
    Runs until stopped. Any number of workers can run at once. While the database or storage is
    unavailable, it waits. SIGTERM stops it after the current task, in a few seconds; tasks of a
    killed worker are repeated by another one.

    Changes:        previews, checksum and malware status, the text of documents, mails, tasks,
                    and the files of a large folder or a handover that it continues.
    Never changes:  the bytes of files.

    Exit codes:
      0  stopped, or with --once the queue is empty

    Example:
      manage.py worker
    """

    def add_arguments(self, parser: CommandParser) -> None:
        schedule = parser.add_argument_group("schedule")
        schedule.add_argument("--once", action="store_true", help="stop when the queue is empty")

    def handle(self, *args: Any, **options: Any) -> None:
        worker = self._worker(once=options["once"])
        worker.configure_signals()
        clear_scratch()
        with _with_heartbeat(once=options["once"]):
            has_ended = False
            while not has_ended:
                with self.tolerate_database_errors("worker"):
                    worker.run()
                    has_ended = True
                if not has_ended:
                    time.sleep(UNAVAILABLE_PAUSE_SECONDS)

    def _worker(self, *, once: bool) -> Worker:
        return Worker(
            queue_names=["default"],
            excluded_queue_names=[],
            interval=PAUSE_SECONDS,
            batch=once,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id=get_random_string(32),
        )


@contextmanager
def _with_heartbeat(*, once: bool) -> Iterator[None]:
    """Record a heartbeat every HEARTBEAT_SECONDS, idle or busy, in a thread with its own connection."""
    if once:
        Heartbeat.objects.beat(HEARTBEAT_NAME)
        yield
        return
    stopped = threading.Event()
    threading.Thread(target=_heartbeat, args=[stopped], daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def _heartbeat(stopped: threading.Event) -> None:
    for number in itertools.count():
        with suppress(DatabaseError):
            Heartbeat.objects.beat(HEARTBEAT_NAME)
            if settings.LOG_FORMAT == "json" and number % HEARTBEATS_PER_LOG_LINE == 0:
                log_queue()
            if number and number % HEARTBEATS_PER_SWEEP_CHECK == 0:
                warn_of_sweep()
        connection.close()
        if stopped.wait(HEARTBEAT_SECONDS):
            return
