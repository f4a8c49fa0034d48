"""CloudFront, where it delivers: whether it gives what we sign, as we say, and nothing to anybody else."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings

from uploads.s3.asked import Said
from uploads.s3.trial import look_at_the_edge
from uploads.services.doctor.told import Line, fail, ok

SUBJECT = "cloudfront"


def cloudfront_lines() -> Iterable[Line]:
    domain = (settings.CLOUDFRONT or {}).get("custom_domain")
    try:
        found = look_at_the_edge()
    except Said as said:
        yield fail(SUBJECT, f"{domain} does not answer ({said.code})", "look at CLOUDFRONT_DOMAIN and its certificate")
        return
    if 200 <= found.unsigned < 300:
        advice = "restrict viewer access of its behaviour to the key group"
        yield fail(SUBJECT, f"{domain} gives a file to whoever knows its key", advice)
    elif found.signed != 200:
        advice = (
            "look at CLOUDFRONT_KEY_ID and the key group, and at what the bucket's policy lets the distribution read"
        )
        yield fail(SUBJECT, f"{domain} refuses what we sign ({found.signed})", advice)
    elif not found.overrides:
        advice = "let its cache policy pass on all six queries response-* (docs/delivery.md)"
        yield fail(SUBJECT, f"{domain} gives files without all the headers that we sign", advice)
    else:
        yield ok(SUBJECT, f"{domain} gives what we sign, and nothing else")
