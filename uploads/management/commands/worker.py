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
from uploads.services.previews import clear_scratch

PAUSE_SECONDS = 1.0
UNAVAILABLE_PAUSE_SECONDS = 5.0
HEARTBEAT_NAME = "worker"
HEARTBEAT_SECONDS = 30.0
HEARTBEATS_PER_LOG_LINE = 2


class Command(AmalgaCommand):
    help = (
        "Makes previews, and reads what was uploaded to a store that checks no digests, as they are asked for, until "
        "stopped; any number may run. A database or a store that is away is waited for. TERM lets it end what it works "
        "at, a few seconds at most; killed, it leaves nothing that another worker does not do again. No file, no name "
        "and no row but those of previews and tasks is touched, and of files that were read what their checksum rests "
        "on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when there is nothing left to do")

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
        connection.close()
        if stopped.wait(HEARTBEAT_SECONDS):
            return
