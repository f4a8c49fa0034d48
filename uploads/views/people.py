"""Who is asking."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


def signed_in(request: HttpRequest) -> User:
    """The person behind a request that the login check let through."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
