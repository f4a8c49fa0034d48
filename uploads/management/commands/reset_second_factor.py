"""Reset the second factor of a person, for example of an administrator who has lost phone and recovery codes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from uploads.management.base import AmalgaCommand, find_user
from uploads.services import sign_in_events


class Command(AmalgaCommand):
    help = (
        "Takes away a person's second factor and recovery codes, and ends their sessions; with their password they "
        "sign in and set up new ones. Their files, password and rights are not touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="whose")

    def handle(self, *, name: str, **_: Any) -> None:
        removed = sign_in_events.forget_factors(find_user(name), by=None)
        self.stdout.write(f"{name} has no second factor any more." if removed else f"{name} had none.")
