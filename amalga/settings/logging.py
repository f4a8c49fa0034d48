"""What is written down and counted of each request, and who may read it."""

import re

from django.core.exceptions import ImproperlyConfigured

from amalga.log import configuration, log_format
from amalga.settings.base import DEBUG
from amalga.settings.env import env, raw_value

LEAST_TOKEN, MAX_TOKEN = 16, 200
_TOKEN = re.compile(rf"[!-~]{{{LEAST_TOKEN},{MAX_TOKEN}}}")

try:
    LOG_FORMAT = log_format(str(env.str("LOG_FORMAT", default="")), debug=DEBUG)
except ValueError as fault:
    raise ImproperlyConfigured(str(fault)) from None
LOGGING = configuration(LOG_FORMAT)

# Where faults of ours are reported, if anywhere. The library that does it is only loaded then.
SENTRY_DSN = str(env.str("SENTRY_DSN", default="")).strip()
if SENTRY_DSN:
    from amalga.sentry import init_sentry

    try:
        init_sentry(SENTRY_DSN)
    except ValueError as fault:
        raise ImproperlyConfigured(f"SENTRY_DSN is not usable: {fault}.") from None

# Whoever asks for /metrics must know it; without one there is no such address.
METRICS_TOKEN = raw_value("METRICS_TOKEN").strip()
if METRICS_TOKEN and not _TOKEN.fullmatch(METRICS_TOKEN):
    raise ImproperlyConfigured(
        f"METRICS_TOKEN is not usable: it takes {LEAST_TOKEN} to {MAX_TOKEN} letters, digits and signs without blanks."
    )
# Where gunicorn's processes count together; amalga/gunicorn_conf.py makes it.
METRICS_FOLDER = str(env.str("PROMETHEUS_MULTIPROC_DIR", default=""))
