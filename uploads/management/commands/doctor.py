"""Check the installation, and print what is wrong and how to fix it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from uploads.errors import ValidationFailed
from uploads.management.base import AmalgaCommand, until_stopped
from uploads.services.doctor import CheckResult, Level, examine, send_test_mail

STYLES = {Level.OK: "SUCCESS", Level.WARN: "WARNING", Level.FAIL: "ERROR"}


class Command(AmalgaCommand):
    requires_system_checks = []  # `examine` reports them like the other checks
    help = (
        "Looks at the settings, the database, the store, the bucket and what runs in the background, and says one "
        "line for each: ok, warn or fail, why, and what to do. Sends a few bytes to the bucket under "
        "quarantine/doctor-… to find out what it refuses, and a file and a table of a moment to find out whether "
        "there is room, and removes them again. Nothing else is written, and no secret is ever shown. Takes less "
        "than a minute, also with everything hanging. Exit status: 0 nothing fails, there may be warnings; 1 "
        "something fails; 2 an origin or an address is none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--origin", action="append", default=[], metavar="URL",
            help="an origin of our pages, for CORS; to be repeated (default: as the settings say)",
        )  # fmt: skip
        parser.add_argument(
            "--send-test-mail", metavar="ADDRESS", help="also send a test message to this address, and wait for it"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object at the end")

    def handle(self, *args: Any, **options: Any) -> None:
        results: list[CheckResult] = []
        with until_stopped():
            try:
                for result in self._results(options):
                    results.append(result)
                    if not options["json"]:
                        self._print(result)
            except ValidationFailed as problem:
                raise CommandError(problem.message, returncode=2) from None
        counts = Counter(result.level for result in results)
        if options["json"]:
            self.stdout.write(
                json.dumps({"checks": [asdict(result) for result in results], **_counts_by_level(counts)})
            )
        else:
            self.stdout.write(", ".join(f"{count} {level}" for level, count in _counts_by_level(counts).items()))
        if counts[Level.FAIL]:
            raise CommandError("Something is wrong; the lines that begin with fail say what to do.", returncode=1)

    def _results(self, options: dict[str, Any]) -> Iterator[CheckResult]:
        yield from examine(options["origin"])
        if address := options["send_test_mail"]:
            yield send_test_mail(address)

    def _print(self, result: CheckResult) -> None:
        paint = getattr(self.style, STYLES[result.level])
        self.stdout.write(str(result), style_func=lambda text: f"{paint(text[:4])}{text[4:]}")
        self.stdout.flush()


def _counts_by_level(counts: Counter[Level]) -> dict[str, int]:
    return {str(level): counts[level] for level in Level}
