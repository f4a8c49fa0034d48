"""How often somebody tried to get in, and how long they have to wait for the next try."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, models
from django.db.models import F
from django.db.models.functions import Greatest, Now

CLEANUP_BATCH_SIZE = 100
FORGOTTEN_SECONDS = 7 * 24 * 3600

# One statement, so that of many tries at once each counts. Tries leak away, one per so many seconds; from the last
# free one on, each doubles the wait. A try during a wait counts nothing: nobody can prolong it.
COUNT = """
    INSERT INTO uploads_attempt AS known (key, tries, tried_at, waits_until)
    VALUES (%(key)s, 1, statement_timestamp(), NULL)
    ON CONFLICT (key) DO UPDATE SET
        (tries, tried_at, waits_until) = (
            SELECT tries, statement_timestamp(), CASE WHEN round(tries) >= %(free)s THEN statement_timestamp()
                + make_interval(secs => least(%(longest)s, %(first)s * power(2, least(round(tries) - %(free)s, 20))))
                END
            FROM (SELECT 1 + greatest(0, known.tries
                - extract(epoch FROM statement_timestamp() - known.tried_at) / %(leak)s) AS tries) AS counted
        )
    WHERE known.waits_until IS NULL OR known.waits_until <= statement_timestamp()
    RETURNING coalesce(extract(epoch FROM waits_until - statement_timestamp()), 0)
"""


@dataclass(frozen=True)
class Limit:
    """So many tries are free; then one waits, twice as long each time. One try is forgotten per `leak_seconds`."""

    free: int
    first_seconds: int
    longest_seconds: int
    leak_seconds: int


class AttemptManager(models.Manager["Attempt"]):
    def wait(self, keys: Iterable[str]) -> int:
        """Seconds until all of these may try again; 0: now."""
        left = models.ExpressionWrapper(F("waits_until") - Now(), output_field=models.DurationField())
        found = self.filter(key__in=list(keys), waits_until__gt=Now()).aggregate(longest=models.Max(left))
        return math.ceil(found["longest"].total_seconds()) if found["longest"] else 0

    def increment(self, key: str, limit: Limit) -> int | None:
        """Count one try; the seconds that the next one has to wait. None: this one has to wait itself."""
        numbers = {"free": limit.free, "first": limit.first_seconds, "longest": limit.longest_seconds}
        with connection.cursor() as cursor:
            cursor.execute(COUNT, {"key": key, "leak": limit.leak_seconds, **numbers})
            row = cursor.fetchone()
        return None if row is None else math.ceil(row[0])

    def forgive(self, key: str) -> None:
        """The try that was just counted went well: as if it had not been."""
        self.filter(key=key).update(tries=Greatest(F("tries") - 1.0, 0.0), waits_until=None)

    def forget(self, keys: Iterable[str]) -> None:
        self.filter(key__in=list(keys)).delete()

    def clear_old(self) -> None:
        """A few of those that nobody needs any more."""
        old = self.filter(tried_at__lt=Now() - timedelta(seconds=FORGOTTEN_SECONDS))
        self.filter(pk__in=list(old.values_list("pk", flat=True)[:CLEANUP_BATCH_SIZE])).delete()


class Attempt(models.Model):
    """Counted for an address, for an account, or for both together; names stand here as digests only."""

    key = models.CharField(primary_key=True, max_length=120)
    tries = models.FloatField()
    tried_at = models.DateTimeField(db_index=True)
    waits_until = models.DateTimeField(null=True)

    objects = AttemptManager()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
