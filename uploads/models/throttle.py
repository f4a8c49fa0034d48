"""Token buckets: how often something may happen. They are in Postgres, so the limits are exact across processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from ipaddress import IPv6Network, ip_address

from django.db import connection, models, transaction
from django.db.models import F
from django.db.models.functions import Now

from uploads.errors import TooManyAttempts

CLEANUP_BATCH_SIZE = 100
IPV6_PREFIX = 64  # the size of one customer's network; RFC 6177

# A bucket is stored as the time when it will be full again; a token more puts that off by the time of its refill.
# One statement, with its rows in one order: concurrent calls all count, and cannot deadlock.
TAKE_SQL = """
    INSERT INTO uploads_tokenbucket AS bucket (key, full_at)
    SELECT key, statement_timestamp() + make_interval(secs => refill_seconds)
    FROM unnest(%s::text[], %s::float8[]) AS taken (key, refill_seconds) ORDER BY key
    ON CONFLICT (key) DO UPDATE SET full_at = excluded.full_at
        + greatest(bucket.full_at - statement_timestamp(), interval '0')
    RETURNING key, extract(epoch FROM full_at - statement_timestamp())::float8
"""


@dataclass(frozen=True)
class Limit:
    """`capacity` tokens at once, then one per `refill_seconds`. `shared`: by attempts of several people."""

    capacity: int
    refill_seconds: int
    shared: bool = False


@lru_cache(maxsize=10_000)
def client_network(address: str | None) -> str:
    """Return what to count attempts by: the IPv4 address, or for IPv6 the network that one customer has."""
    if not address:
        return "nowhere"
    parsed = ip_address(address)
    return str(IPv6Network((parsed, IPV6_PREFIX), strict=False)) if parsed.version == 6 else address


class TokenBucketManager(models.Manager["TokenBucket"]):
    def take(self, limits: Mapping[str, Limit]) -> int:
        """Take a token from each of these buckets, and return the seconds until the next can be taken, 0 for now.

        Takes none and raises TooManyAttempts if one of them is empty, so that attempts cannot prolong a wait.
        """
        refills = [float(limit.refill_seconds) for limit in limits.values()]
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(TAKE_SQL, [list(limits), refills])
                until_full: dict[str, float] = dict(cursor.fetchall())
            wait = max(until_full[key] - limit.capacity * limit.refill_seconds for key, limit in limits.items())
            if wait > 0:
                transaction.set_rollback(True)
        if wait > 0:
            raise TooManyAttempts(math.ceil(wait))
        waits = [until_full[key] - (limit.capacity - 1) * limit.refill_seconds for key, limit in limits.items()]
        return max(0, math.ceil(max(waits)))

    def give_back(self, limits: Mapping[str, Limit]) -> None:
        """Return the tokens that were just taken."""
        for key, limit in limits.items():
            self.filter(key=key).update(full_at=F("full_at") - timedelta(seconds=limit.refill_seconds))

    def refill(self, keys: Iterable[str]) -> None:
        for key in keys:  # each by itself: locks of several rows would need one order
            self.filter(key=key).delete()

    def delete_full(self) -> None:
        """Delete a batch of the buckets that are full, which is what a bucket without a row is."""
        with transaction.atomic():
            full = self.filter(full_at__lt=Now()).select_for_update(skip_locked=True).values_list("pk", flat=True)
            self.filter(pk__in=list(full[:CLEANUP_BATCH_SIZE])).delete()


class TokenBucket(models.Model):
    """The bucket of an address, an account, or both together. The key holds digests of names, never the names."""

    key = models.CharField(primary_key=True, max_length=120)
    full_at = models.DateTimeField(db_index=True)

    objects = TokenBucketManager()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
