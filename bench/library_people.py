"""Who looks at the library, and as whom each request goes."""

from __future__ import annotations

from bench.library_make import MANAGER, MEMBER, ROOT

WHO = {"member": MEMBER, "manager": MANAGER, "root": ROOT}


def cookies() -> dict[str, str]:
    """A session for each, as a Cookie header."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    found = {}
    for who, username in WHO.items():
        client = Client()
        client.force_login(User.objects.get(username=username))
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        found[who] = f"{settings.SESSION_COOKIE_NAME}={session}"
    return found
