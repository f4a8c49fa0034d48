"""What somebody without any credentials gets."""

from __future__ import annotations

from uploads.s3.asked import asking
from uploads.s3.client import http
from uploads.s3.marker import MARKER_KEY
from uploads.s3.signing import address
from uploads.s3.stores import main_store

QUESTIONS = {"list the bucket": ("GET", "?list-type=2&max-keys=1"), "read an object": ("GET", MARKER_KEY)}


def open_to_all() -> list[str]:
    """What can be done without a signature, in words; nothing, as it should be. Raises Said."""
    bucket = address(MARKER_KEY, main_store()).removesuffix(MARKER_KEY)
    done = []
    for what, (method, rest) in QUESTIONS.items():
        with asking("anonymous"):
            answer = http().request(method, f"{bucket}{rest}")
        if 200 <= answer.status < 300:
            done.append(what)
    return done
