"""Every cookie is for this host alone: a host beside ours cannot plant one that a browser would send to us."""

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class HostCookieStorage(CookieStorage):
    """Django names it `messages`, and has no setting for that."""

    cookie_name = settings.MESSAGES_COOKIE_NAME


class HostFallbackStorage(FallbackStorage):
    """In a cookie what fits into one, the rest in the session; as Django does it."""

    storage_classes = (HostCookieStorage, SessionStorage)
