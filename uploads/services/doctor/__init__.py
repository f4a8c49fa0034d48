"""Check an installation, and say what is wrong and how to fix it. Writes only probes, which it deletes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from uploads.services.doctor.background_jobs import WORK
from uploads.services.doctor.database import database_checks
from uploads.services.doctor.external import (
    MAIL,
    SCANNER,
    SINGLE_SIGN_ON,
    mail_checks,
    outgoing_checks,
    provider_checks,
    scanner_checks,
    send_test_mail,
)
from uploads.services.doctor.host import disk_checks, program_checks, settings_checks, version_checks
from uploads.services.doctor.results import CheckResult, Deadline, Level, in_area, run_safely
from uploads.services.doctor.storage import STORAGE_SUBJECTS, store_checks

DATABASE_SECONDS = 18.0  # plus RESPONSE_SECONDS at most, for a statement that hangs
STORE_SECONDS = 20.0
EXTERNAL_SECONDS = 10.0  # mail server, malware scanner and identity providers

__all__ = ["CheckResult", "Level", "examine", "send_test_mail"]


def examine(origins: Sequence[str] = ()) -> Iterator[CheckResult]:
    """Yield one result for each check; `origins` are those of our pages; by default they come from the settings.

    A problem in one check never prevents the others, and even if everything hangs, all checks end within a minute.
    Raises ValidationFailed for an invalid origin.
    """
    yield from in_area("settings", run_safely("settings", settings_checks))
    host = (("version", version_checks), ("disk", disk_checks), ("programs", program_checks))
    yield from in_area("host", [line for subject, checks in host for line in run_safely(subject, checks)])
    jobs = {subject for subject, _ in WORK}
    outgoing: list[CheckResult] = []
    for result in database_checks(Deadline(DATABASE_SECONDS), (*WORK, ("outgoing mail", outgoing_checks))):
        if result.subject == "outgoing mail":
            outgoing.append(result)
        else:
            yield replace(result, area="background jobs" if result.subject in jobs else "database")
    for result in store_checks(Deadline(STORE_SECONDS), origins):
        yield replace(result, area="storage" if result.subject in STORAGE_SUBJECTS else "bucket")
    deadline = Deadline(EXTERNAL_SECONDS)
    yield from in_area(MAIL, [*outgoing, *deadline.run(MAIL, mail_checks)])
    yield from in_area(SCANNER, deadline.run(SCANNER, scanner_checks))
    yield from in_area(SINGLE_SIGN_ON, deadline.run(SINGLE_SIGN_ON, provider_checks))
