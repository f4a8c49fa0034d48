"""Requests to the identity providers of single sign-on."""

from __future__ import annotations

import json
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error

MAX_RESPONSE_BYTES = 1024 * 1024  # of discovery, keys and user info
CHUNK_BYTES = 64 * 1024


def fetch_json(url: str, **headers: str) -> dict[str, Any]:
    """Return the JSON object at this address of a provider.

    Raises OSError (with the `response`, if there was one), and ValueError, RecursionError or OAuth2Error for another
    body. Safe to repeat.
    """
    with (
        get_adapter().get_requests_session() as session,
        session.get(url, headers=headers, stream=True) as response,
    ):
        response.raise_for_status()
        body = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise OAuth2Error("The provider sent too much.")
    data = json.loads(body)
    if not isinstance(data, dict):
        raise OAuth2Error("The provider did not send an object.")
    return data
