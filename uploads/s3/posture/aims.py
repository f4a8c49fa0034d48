"""What a safe bucket is measured by."""

from __future__ import annotations

from dataclasses import dataclass

from uploads.s3.signing import URL_SECONDS

URLS_LAST_MILLISECONDS = URL_SECONDS * 1000
# Per kind of S3_CHECKSUMS, what a browser sends beside the bytes (uploads/s3/signing.py).
PUT_HEADERS = {
    "sha256": ("content-type", "if-none-match", "x-amz-checksum-sha256"),
    "payload": ("content-type", "x-amz-content-sha256"),
    "off": ("content-type",),
}


@dataclass(frozen=True)
class Aims:
    """`origins` are those of our pages; `headers` what they send; days as whole numbers.

    `keep_days`: how long an overwritten or removed object can be brought back. None: 35 days, or as many more as the
    bucket keeps already. `over_tls`: the store is asked by https; else a policy against plain http would shut us out.
    """

    bucket: str
    partition: str  # aws, aws-cn, aws-us-gov
    origins: tuple[str, ...]
    headers: tuple[str, ...]
    abort_days: int
    keep_days: int | None = None
    over_tls: bool = True
