"""What CloudFront, where it stands before the bucket, answers to us and to anybody."""

from __future__ import annotations

from dataclasses import dataclass

from uploads.s3.asked import asking
from uploads.s3.client import http
from uploads.s3.delivery import FIXED, download_url
from uploads.s3.marker import MARKER_KEY

TYPE = "application/x-amalga-asked"  # that no object of ours has


@dataclass(frozen=True, slots=True)
class Edge:
    signed: int  # the status of the answer to a URL of ours
    unsigned: int
    overrides: bool  # whether the answer has the headers that the URL asks for


def look_at_the_edge() -> Edge:
    """Raises Said when it does not answer. What is asked for is the bucket's marker."""
    url = download_url(MARKER_KEY, disposition="attachment", content_type=TYPE)
    with asking("cloudfront"):
        ours = http().request("GET", url, retries=False)
        anybodys = http().request("GET", url.partition("?")[0], retries=False)
    told = (ours.headers.get("Content-Type"), ours.headers.get("Content-Language"))
    return Edge(ours.status, anybodys.status, told == (TYPE, FIXED["ResponseContentLanguage"]))
