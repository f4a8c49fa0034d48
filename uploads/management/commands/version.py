"""Print the versions of Amalga, Python and Django."""

from __future__ import annotations

import platform
from typing import Any

import django

import amalga
from uploads.management.base import AmalgaCommand


class Command(AmalgaCommand):
    help = "Print the versions of Amalga, Python and Django."
    epilog = """
    Needs no settings, no database and no storage.

    Changes: nothing.

    Exit codes:
      0  printed

    Example:
      manage.py version --json
    """
    json_keys = {
        "amalga": "version of Amalga",
        "python": "version of Python",
        "django": "version of Django",
    }
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.write_values(
            {"amalga": amalga.__version__, "python": platform.python_version(), "django": django.get_version()}
        )
