"""Messages to the user in a `__Host-` cookie."""

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage


class HostCookieStorage(CookieStorage):
    """Uses a cookie that a sibling host cannot set. Django has no setting for its name."""

    cookie_name = settings.MESSAGES_COOKIE_NAME


class HostFallbackStorage(FallbackStorage):
    """Django's fallback storage with our cookie: the messages that do not fit go into the session."""

    storage_classes = (HostCookieStorage, SessionStorage)
