"""Who came, who left, and who did not get in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User

from uploads.models import Action, Event

logger = logging.getLogger(__name__)

MOST_NAME_CHARACTERS = 150  # as Django's own user names


def came(*, user: User, **_: Any) -> None:
    Event.objects.record(Action.LOGIN, by=user)
    logger.info("signed_in user=%s", user.pk)


def left(*, user: User | None, **_: Any) -> None:
    """Django tells it of strangers as well, who had nothing to leave."""
    if user is not None:
        Event.objects.record(Action.LOGOUT, by=user)
        logger.info("signed_out user=%s", user.pk)


def refused(*, credentials: Mapping[str, Any], **_: Any) -> None:
    """Somebody failed to sign in. The name that was tried is kept, the password never."""
    Event.objects.record(Action.LOGIN_FAILED, name=tried_name(credentials.get("username")))
    logger.info("sign_in_failed")


def tried_name(text: object) -> str:
    """What was typed as a name, in one line of visible characters."""
    return "".join(char for char in str(text or "") if char.isprintable())[:MOST_NAME_CHARACTERS]
