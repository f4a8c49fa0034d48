"""Tell in plain words what is wrong with an installation and how to mend it. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from uploads.services.doctor.background_jobs import WORK
from uploads.services.doctor.database import database_checks
from uploads.services.doctor.host import database_disk_check, disk_checks
from uploads.services.doctor.results import CheckResult, Deadline, Level, safely
from uploads.services.doctor.settings import settings_checks
from uploads.services.doctor.storage import store_checks

DATABASE_SECONDS = 18.0  # a statement that hangs comes on top, RESPONSE_SECONDS at most
STORE_SECONDS = 30.0

__all__ = ["CheckResult", "Level", "examine"]


def examine(origins: Sequence[str] = ()) -> Iterator[CheckResult]:
    """One line for each thing looked at, as it is found; `origins` of our pages, if the settings do not tell them.

    Trouble in one place never keeps the others from being looked at, and with everything hanging it takes less than a
    minute. Raises ValidationFailed for an origin that is none.
    """
    yield from safely("settings", settings_checks)
    yield from safely("disk", disk_checks)
    yield from database_checks(Deadline(DATABASE_SECONDS), [("database disk", database_disk_check), *WORK])
    yield from store_checks(Deadline(STORE_SECONDS), origins)
