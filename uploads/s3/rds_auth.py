"""IAM authentication tokens for databases at RDS, signed with the role's credentials like presigned URLs."""

from __future__ import annotations

import re
import threading
from urllib.parse import urlencode

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from django.conf import settings

from uploads.errors import StorageUnavailable
from uploads.s3.client import session, translate_errors

# RDS user guide, "Connecting to your DB instance using IAM authentication": how long a token is valid, and that the
# signature includes the region
TOKEN_SECONDS = 900
REGION = re.compile(r"\.(?:rds\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.(?:rds\.)?amazonaws\.com(?:\.cn)?$")
SCHEME = "https://"

_lock = threading.Lock()


def database_token(host: str, port: int, user: str) -> str:
    """Return a token to use as the password. Raises StorageUnavailable without credentials.

    The result is that of boto3's RDS client, which takes longer to load than a person's first page may take.
    """
    region = region_of(host)
    # several threads open connections at once, and boto3's sessions are not thread-safe
    with _lock, translate_errors("GetDatabaseToken"):
        credentials = session(region, None, None).get_credentials()
        if credentials is None:
            raise StorageUnavailable("GetDatabaseToken: none")
        frozen = credentials.get_frozen_credentials()
    request = AWSRequest("GET", f"{SCHEME}{host}:{port}/?{urlencode({'Action': 'connect', 'DBUser': user})}")
    SigV4QueryAuth(frozen, "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix(SCHEME)


def region_of(host: str) -> str:
    """Return the region in the host name, which may differ from the bucket's."""
    match = REGION.search(host.lower())
    return match[1] if match else settings.S3_REGION
