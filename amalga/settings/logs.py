"""What is written down of each request, and how."""

from django.core.exceptions import ImproperlyConfigured

from amalga.logs import configuration, log_format
from amalga.settings.environment import env
from amalga.settings.site import DEBUG

try:
    LOG_FORMAT = log_format(str(env.str("LOG_FORMAT", default="")), debug=DEBUG)
except ValueError as fault:
    raise ImproperlyConfigured(str(fault)) from None
LOGGING = configuration(LOG_FORMAT)
