"""Django's `migrate` without the statement timeout."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from amalga.db import without_statement_timeout


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        """Run without the timeout of web requests: indexes over millions of rows take minutes."""
        with without_statement_timeout():
            super().handle(*args, **options)
