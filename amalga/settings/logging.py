"""Logging, error reports and metrics."""

import re

from django.core.exceptions import ImproperlyConfigured

from amalga import __version__
from amalga.log import configuration, log_format
from amalga.settings.base import DEBUG
from amalga.settings.env import raw_value, string

MIN_TOKEN, MAX_TOKEN = 16, 200
_TOKEN = re.compile(rf"[!-~]{{{MIN_TOKEN},{MAX_TOKEN}}}")

try:
    LOG_FORMAT = log_format(raw_value("LOG_FORMAT"), debug=DEBUG)
except ValueError as error:
    raise ImproperlyConfigured(str(error)) from None
LOGGING = configuration(LOG_FORMAT)

# Where errors are reported, if set. The Sentry library is only loaded then.
SENTRY_DSN = string("SENTRY_DSN")
SENTRY_RELEASE = string("SENTRY_RELEASE") or f"amalga@{__version__}"
if SENTRY_DSN:
    from amalga.sentry import init_sentry

    try:
        init_sentry(SENTRY_DSN, SENTRY_RELEASE)
    except ValueError as error:
        raise ImproperlyConfigured(f"SENTRY_DSN must be {error}.") from None

# Requests to /metrics must have this token; without a token there is no such page.
METRICS_TOKEN = string("METRICS_TOKEN")
if METRICS_TOKEN and not _TOKEN.fullmatch(METRICS_TOKEN):
    raise ImproperlyConfigured(
        f"METRICS_TOKEN must be {MIN_TOKEN} to {MAX_TOKEN} letters, digits and punctuation marks, without spaces."
    )
# The folder for metrics of all gunicorn processes; amalga/gunicorn_conf.py creates it.
METRICS_FOLDER = raw_value("PROMETHEUS_MULTIPROC_DIR")
