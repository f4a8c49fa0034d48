"""Django's `migrate`, which takes the time that a large library needs."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from amalga.db import without_statement_timeout


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        """Indexes over millions of rows take minutes; pages have seconds."""
        with without_statement_timeout():
            super().handle(*args, **options)
