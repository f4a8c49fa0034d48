"""Messages in a `__Host-` cookie, so that a sibling host cannot set one that browsers would send to us."""

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class HostCookieStorage(CookieStorage):
    """Cookie storage with our cookie name: Django names it `messages`, and has no setting for that."""

    cookie_name = settings.MESSAGES_COOKIE_NAME


class HostFallbackStorage(FallbackStorage):
    """Django's fallback storage with our cookie: the messages that do not fit go into the session."""

    storage_classes = (HostCookieStorage, SessionStorage)
