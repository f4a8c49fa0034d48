"""IAM authentication tokens for databases at RDS: no password to store or rotate."""

from __future__ import annotations

import re
import threading
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from psycopg.errors import OperationalError

# RDS user guide, "Connecting to your DB instance using IAM authentication": how long a token is valid, and that the
# signature includes the region
TOKEN_SECONDS = 900
REGION = re.compile(r"\.(?:rds\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.(?:rds\.)?amazonaws\.com(?:\.cn)?$")
SCHEME = "https://"

_lock = threading.Lock()


def database_token(host: str, port: int, user: str) -> str:
    """Return a token to use as the password. Raises OperationalError without credentials.

    The result is that of boto3's RDS client, which takes longer to load than a person's first page may take.
    """
    # the settings import the connections, and uploads.s3 reads the settings
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    region = region_of(host)
    request = AWSRequest("GET", f"{SCHEME}{host}:{port}/?{urlencode({'Action': 'connect', 'DBUser': user})}")
    SigV4QueryAuth(_credentials(region), "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix(SCHEME)


def region_of(host: str) -> str:
    """Return the region in the host name, which may differ from the bucket's."""
    match = REGION.search(host.lower())
    return match[1] if match else settings.S3_REGION


def _credentials(region: str) -> Any:
    from uploads.errors import StorageUnavailable
    from uploads.s3.client import session, translate_errors

    # several threads open connections at once, and boto3's sessions are not thread-safe
    try:
        with _lock, translate_errors("GetDatabaseToken"):
            credentials = session(region, None, None).get_credentials()
            if credentials is not None:
                return credentials.get_frozen_credentials()
    except StorageUnavailable as error:
        raise OperationalError(f"no IAM token for the database: {error.detail}") from None
    raise OperationalError("no IAM token for the database: no credentials")
