"""A Python whose clock is wrong by SKEW_SECONDS: first on the PYTHONPATH of a process that a test starts."""

import datetime
import os
import time
from typing import Any, Self

SKEW = datetime.timedelta(seconds=int(os.environ["SKEW_SECONDS"]))
true_time, true_datetime = time.time, datetime.datetime


class Kind(type):
    def __instancecheck__(cls, instance: Any) -> bool:  # what libraries in C make is one as well
        return isinstance(instance, true_datetime)


class Skewed(datetime.datetime, metaclass=Kind):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Self:
        return super().now(tz) + SKEW

    @classmethod
    def utcnow(cls) -> Self:
        return super().utcnow() + SKEW


def skewed_time() -> float:
    return true_time() + SKEW.total_seconds()


time.time = skewed_time
datetime.datetime = Skewed  # type: ignore[misc]
