"""Tokens that let us into a database at RDS: signed by the role's credentials, as URLs of the store are."""

from __future__ import annotations

import re
import threading
from urllib.parse import urlencode

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from django.conf import settings

from uploads.errors import StorageUnavailable
from uploads.s3.client import session, translate_errors

# RDS user guide, "Connecting to your DB instance using IAM authentication": how long it is good for, and that the
# region is part of what is signed
TOKEN_SECONDS = 900
REGION = re.compile(r"\.(?:rds\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.(?:rds\.)?amazonaws\.com(?:\.cn)?$")
SCHEME = "https://"

_lock = threading.Lock()


def database_token(host: str, port: int, user: str) -> str:
    """In the place of a password. Raises StorageUnavailable where there are no credentials.

    What boto3's client of RDS makes, without that client: to load it takes longer than a person's first page may wait.
    """
    region = region_of(host)
    # several connections are opened at once, and boto3's sessions are not for several threads
    with _lock, translate_errors("GetDatabaseToken"):
        found = session(region, None, None).get_credentials()
        if found is None:
            raise StorageUnavailable("GetDatabaseToken: none")
        ours = found.get_frozen_credentials()
    request = AWSRequest("GET", f"{SCHEME}{host}:{port}/?{urlencode({'Action': 'connect', 'DBUser': user})}")
    SigV4QueryAuth(ours, "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix(SCHEME)


def region_of(host: str) -> str:
    """The one in the address, which may be another than the bucket's."""
    found = REGION.search(host.lower())
    return found[1] if found else settings.S3_REGION
