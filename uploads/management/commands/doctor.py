"""Check the installation, and print what is wrong and how to fix it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

import amalga
from uploads.errors import ValidationFailed
from uploads.management.base import AmalgaCommand, CommandRefused
from uploads.management.shutdown import until_stopped
from uploads.services.doctor import CheckResult, Level, examine, send_test_mail

STYLES = {Level.OK: "SUCCESS", Level.WARN: "WARNING", Level.FAIL: "ERROR"}


class Command(AmalgaCommand):
    requires_system_checks = []  # `examine` reports them like the other checks
    help = "Check the installation, and say how to fix what is wrong."
    epilog = """
    Checks settings, disk, optional programs, database, background jobs, storage, bucket, mail,
    malware scanner and single sign-on, within a minute. Each line begins with OK, WARN or FAIL.
    No secrets are printed.

    Changes:        writes a few test objects under quarantine/ in the bucket, a temporary file
                    and a temporary table, and deletes them again.
    Never changes:  anything else.

    Exit codes:
      0  no failures; there may be warnings
      1  at least one failure
      2  an origin or address is invalid

    Example:
      manage.py doctor --origin https://files.example.org
    """
    json_keys = {
        "version": "version of Amalga",
        "checks": "list of results: level (ok, warn, fail), area, subject, reason, advice",
        "ok": "number of successful checks",
        "warn": "number of warnings",
        "fail": "number of failures",
    }

    def add_arguments(self, parser: CommandParser) -> None:
        configuration = parser.add_argument_group("configuration")
        configuration.add_argument(
            "--origin", action="append", default=[], metavar="URL",
            help="origin of the site, for CORS; can be repeated (default: from the settings)",
        )  # fmt: skip
        mail = parser.add_argument_group("mail")
        mail.add_argument("--send-test-mail", metavar="ADDRESS", help="also send a test message to this address")

    def handle(self, *args: Any, **options: Any) -> None:
        results: list[CheckResult] = []
        with until_stopped("Some checks did not run."):
            try:
                for result in self._results(options):
                    if not self.as_json:
                        self._print(result, is_first_of_area=not results or results[-1].area != result.area)
                    results.append(result)
            except ValidationFailed as problem:
                raise CommandRefused(problem.message) from None
        counts = Counter(result.level for result in results)
        if self.as_json:
            totals = {str(level): counts[level] for level in Level}
            checks = [asdict(result) for result in results]
            self.write_json({"version": amalga.__version__, "checks": checks, **totals})
        else:
            if self.stdout.isatty():
                self.stdout.write()
            self.stdout.write(_summary(counts))
        if failures := counts[Level.FAIL]:
            raise CommandError(f"{failures} {'check' if failures == 1 else 'checks'} failed.", returncode=1)

    def _results(self, options: dict[str, Any]) -> Iterator[CheckResult]:
        yield from examine(options["origin"])
        if address := options["send_test_mail"]:
            yield replace(send_test_mail(address), area="mail")

    def _print(self, result: CheckResult, *, is_first_of_area: bool) -> None:
        """Print each result at once, as some take seconds. On a terminal, areas have a blank line between them."""
        if is_first_of_area and self.stdout.isatty():
            self.stdout.write()
        paint = getattr(self.style, STYLES[result.level])
        self.stdout.write(str(result), style_func=lambda text: f"{paint(text[:4])}{text[4:]}")
        self.stdout.flush()


def _summary(counts: Counter[Level]) -> str:
    warnings, failures = counts[Level.WARN], counts[Level.FAIL]
    return (
        f"{counts[Level.OK]} OK, {warnings} {'warning' if warnings == 1 else 'warnings'}, "
        f"{failures} {'failure' if failures == 1 else 'failures'}"
    )
