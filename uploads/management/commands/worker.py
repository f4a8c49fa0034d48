"""Work off the queue of tasks."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, connection
from django.utils.crypto import get_random_string
from django_tasks_db.management.commands.db_worker import Worker

from uploads.services.previews import clear_scratch

PAUSE_SECONDS = 1.0
AWAY_SECONDS = 5.0


class Command(BaseCommand):
    help = (
        "Makes previews as they are asked for, until stopped; any number may run. A database or a store that is "
        "away is waited for. TERM lets it end what it works at, a few seconds at most; killed, it leaves nothing that "
        "another worker does not do again. No file, no name and no row but those of previews and tasks is touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when there is nothing left to do")

    def handle(self, *args: Any, **options: Any) -> None:
        worker = self._worker(once=options["once"])
        worker.configure_signals()
        clear_scratch()
        while True:
            try:
                worker.run()
                return
            except DatabaseError as fault:
                self.stderr.write(f"worker: the database is away ({type(fault).__name__})")
                connection.close()
                time.sleep(AWAY_SECONDS)

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
