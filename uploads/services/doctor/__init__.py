"""Tell in plain words what is wrong with an installation and how to mend it. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from uploads.services.doctor.configured import settings_checks
from uploads.services.doctor.database import database_checks
from uploads.services.doctor.limits import Budget, safely
from uploads.services.doctor.room import database_room, machine_room
from uploads.services.doctor.store import store_checks
from uploads.services.doctor.told import Level, Line
from uploads.services.doctor.work import WORK

DATABASE_SECONDS = 18.0  # a statement that hangs comes on top, ANSWER_SECONDS at most
STORE_SECONDS = 30.0

__all__ = ["Level", "Line", "examine"]


def examine(origins: Sequence[str] = ()) -> Iterator[Line]:
    """One line for each thing looked at, as it is found; `origins` of our pages, if the settings do not tell them.

    Trouble in one place never keeps the others from being looked at, and with everything hanging it takes less than a
    minute. Raises BadInput for an origin that is none.
    """
    yield from safely("settings", settings_checks)
    yield from safely("disk", machine_room)
    yield from database_checks(Budget(DATABASE_SECONDS), [("database disk", database_room), *WORK])
    yield from store_checks(Budget(STORE_SECONDS), origins)
