"""The site's own address, for links outside of requests: in mails, and in what commands print."""

from django.conf import settings


def absolute_url(path: str) -> str:
    """Return the address of a path of the site; the path alone if the settings name no host."""
    return f"{settings.SITE_URL}{path}"
