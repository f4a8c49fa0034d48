"""The layout of `--help`."""

from __future__ import annotations

import argparse
import inspect
import shutil
from collections.abc import Iterable
from typing import Any

from django.core.management.base import DjangoHelpFormatter

MAX_WIDTH = 98
# Options that all commands have from Django. They work, but `--help` leaves them out.
COMMON_OPTIONS = {
    "--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color",
    "--skip-checks",
}  # fmt: skip


def own_actions(actions: Iterable[argparse.Action]) -> list[argparse.Action]:
    """Return the arguments without those that all commands have."""
    return [action for action in actions if not COMMON_OPTIONS & set(action.option_strings)]


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the lines of the epilog, wrap the rest at 98 columns at most, and leave out what all commands have."""

    def __init__(self, prog: str, indent_increment: int = 2, max_help_position: int = 28) -> None:
        width = min(MAX_WIDTH, shutil.get_terminal_size().columns - 2)
        super().__init__(prog, indent_increment, max_help_position, width)

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *args: Any, **kwargs: Any) -> None:
        super().add_usage(usage, own_actions(actions), *args, **kwargs)

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        super().add_arguments(own_actions(actions))


def epilog_text(text: str) -> str:
    """Return the lines of an epilog without the indentation of the source."""
    return inspect.cleandoc(text)
