"""URLs that CloudFront checks, before it asks the bucket by its own right (origin access control)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote, urlencode

from botocore.signers import CloudFrontSigner

# As boto3 names what an answer's headers shall be, and as S3 has it in a query (S3 API, "GetObject").
IN_A_QUERY = {
    "ResponseCacheControl": "response-cache-control",
    "ResponseContentEncoding": "response-content-encoding",
    "ResponseContentLanguage": "response-content-language",
    "ResponseContentDisposition": "response-content-disposition",
    "ResponseContentType": "response-content-type",
    "ResponseExpires": "response-expires",
}


def sign_for_cloudfront(
    signer: CloudFrontSigner, domain: str, key: str, parameters: Mapping[str, str | datetime], *, until: datetime
) -> str:
    """A URL of this object with these headers, and of nothing else, until then: a canned policy signs all of it."""
    named = sorted((IN_A_QUERY.get(name, name), _as_text(value)) for name, value in parameters.items())
    plain = f"https://{domain}/{quote(key, safe='/~')}?{urlencode(named, quote_via=quote)}"
    return signer.generate_presigned_url(plain, date_less_than=until)


def _as_text(value: str | datetime) -> str:
    return format_datetime(value, usegmt=True) if isinstance(value, datetime) else value
