"""Where the credentials come from; never what they are."""

from __future__ import annotations

from dataclasses import dataclass

from uploads.s3.asked import Said, asking
from uploads.s3.client import seconds_of_credentials, session_of
from uploads.s3.stores import main_store


@dataclass(frozen=True)
class Credentials:
    """`source` as botocore calls it, `profile` what AWS's files call it. `temporary`: they carry a session token.

    `seconds_left`: until they end, of those that boto3 renews by itself; None for the others.
    """

    source: str
    profile: str
    temporary: bool
    seconds_left: float | None


def credentials_in_use() -> Credentials | None:
    """What boto3's search finds; None if it finds nothing. Raises Said when a place to ask does not answer."""
    with asking("GetCredentials"):
        session = session_of(main_store())
        found = session.get_credentials()
        if found is None:
            return None
        try:
            frozen = found.get_frozen_credentials()
        except RuntimeError:  # botocore's, without a class of its own
            raise Said("GetCredentials", "EXPIRED") from None
    if not frozen.access_key or not frozen.secret_key:
        raise Said("GetCredentials", "PartialCredentialsError")
    return Credentials(str(found.method), session.profile_name, bool(frozen.token), seconds_of_credentials())
