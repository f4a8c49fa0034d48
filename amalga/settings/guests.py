"""File requests, with which people without an account upload files."""

from amalga.settings.base import HTTPS
from amalga.settings.env import integer

FILE_REQUEST_MAX_DAYS = integer("FILE_REQUEST_MAX_DAYS", 365, minimum=1, maximum=3650)
FILE_REQUEST_DAYS = integer(
    "FILE_REQUEST_DAYS", min(30, FILE_REQUEST_MAX_DAYS), minimum=1, maximum=FILE_REQUEST_MAX_DAYS
)
# No __Host- prefix, which would need the path /: a guest's cookie is for the paths of one file request.
GUEST_COOKIE_NAME = "__Secure-amalga-guest" if HTTPS else "amalga-guest"
