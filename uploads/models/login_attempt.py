"""Counters of failed sign-ins, and how long the next attempt has to wait."""

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

# One statement, so that concurrent attempts all count. Attempts leak away, one per `leak` seconds; from the last
# free one on, each doubles the wait. An attempt during a wait does not count, so that it cannot prolong the wait.
INCREMENT_SQL = """
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
    """`free` attempts do not wait; each one after them waits twice as long. One is forgotten per `leak_seconds`."""

    free: int
    first_seconds: int
    longest_seconds: int
    leak_seconds: int


class AttemptManager(models.Manager["Attempt"]):
    def wait(self, keys: Iterable[str]) -> int:
        """Return the seconds until all of these keys can try again, 0 for now."""
        remaining = models.ExpressionWrapper(F("waits_until") - Now(), output_field=models.DurationField())
        result = self.filter(key__in=list(keys), waits_until__gt=Now()).aggregate(longest=models.Max(remaining))
        return math.ceil(result["longest"].total_seconds()) if result["longest"] else 0

    def increment(self, key: str, limit: Limit) -> int | None:
        """Count one attempt and return the seconds that the next one has to wait, or None if this one has to wait."""
        parameters = {"free": limit.free, "first": limit.first_seconds, "longest": limit.longest_seconds}
        with connection.cursor() as cursor:
            cursor.execute(INCREMENT_SQL, {"key": key, "leak": limit.leak_seconds, **parameters})
            row = cursor.fetchone()
        return None if row is None else math.ceil(row[0])

    def forgive(self, key: str) -> None:
        """Take back the attempt that was just counted, because it succeeded."""
        self.filter(key=key).update(tries=Greatest(F("tries") - 1.0, 0.0), waits_until=None)

    def forget(self, keys: Iterable[str]) -> None:
        self.filter(key__in=list(keys)).delete()

    def clear_old(self) -> None:
        """Delete a batch of counters that have not changed for FORGOTTEN_SECONDS."""
        expired = self.filter(tried_at__lt=Now() - timedelta(seconds=FORGOTTEN_SECONDS))
        self.filter(pk__in=list(expired.values_list("pk", flat=True)[:CLEANUP_BATCH_SIZE])).delete()


class Attempt(models.Model):
    """The counter of an address, an account, or both together. The key holds digests of names, never the names."""

    key = models.CharField(primary_key=True, max_length=120)
    tries = models.FloatField()
    tried_at = models.DateTimeField(db_index=True)
    waits_until = models.DateTimeField(null=True)

    objects = AttemptManager()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
