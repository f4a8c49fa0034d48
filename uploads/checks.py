"""What Django's `check` says of our settings; nothing here touches a network."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register


@register(Tags.security, deploy=True)
def store_is_asked_over_https(**_: Any) -> list[CheckMessage]:
    if urlsplit(settings.S3_ORIGIN).scheme == "https":
        return []
    return [
        Warning(
            "Signed URLs and bytes travel in the clear: the store is asked over http.",
            hint="Give AWS_ENDPOINT_URL_S3 an https address.",
            id="uploads.W001",
        )
    ]


@register(Tags.security, deploy=True)
def site_is_served_over_https(**_: Any) -> list[CheckMessage]:
    if settings.HTTPS:
        return []
    return [
        Warning(
            "HTTPS is off: cookies travel in the clear and browsers cannot compute digests.",
            hint="Remove HTTPS=off.",
            id="uploads.W002",
        )
    ]
