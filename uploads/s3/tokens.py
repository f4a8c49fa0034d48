"""Tokens that let us into a database at RDS: signed by the role's credentials, as URLs of the store are."""

from __future__ import annotations

import functools
import re
import threading
from typing import Any

from django.conf import settings

from uploads.s3.client import session, told_plainly

# RDS user guide, "Connecting to your DB instance using IAM authentication": the region is part of what is signed
REGION = re.compile(r"\.(?:rds\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.(?:rds\.)?amazonaws\.com(?:\.cn)?$")

_lock = threading.Lock()


def database_token(host: str, port: int, user: str) -> str:
    """In the place of a password, for a quarter of an hour. Raises StoreUnavailable where there are no credentials."""
    with told_plainly("GetDatabaseToken"):
        client = _client(region_of(host))
        return str(client.generate_db_auth_token(DBHostname=host, Port=port, DBUsername=user))


def region_of(host: str) -> str:
    """The one in the address, which may be another than the bucket's."""
    found = REGION.search(host.lower())
    return found[1] if found else settings.S3_REGION


def _client(region: str) -> Any:
    with _lock:  # several connections are opened at once, and boto3's sessions are not for several threads
        return _made(region)


@functools.cache
def _made(region: str) -> Any:
    return session(region, None, None).client("rds")
