"""Settings for every deployment; everything that differs between deployments is an environment variable.

A missing required variable and an invalid value stop the start with a message that names the variable. The table of
all variables is docs/configuration.md.
"""

from amalga.settings.auth import *
from amalga.settings.base import *
from amalga.settings.database import *
from amalga.settings.env import reject_misspelled, unknown_variables
from amalga.settings.limits import *
from amalga.settings.mail import *
from amalga.settings.security import *
from amalga.settings.single_sign_on import *
from amalga.settings.storage import *

reject_misspelled()
# Unknown variables with our prefixes, which `check --deploy` reports (uploads/checks.py).
UNKNOWN_VARIABLES = unknown_variables(
    "CLOUDFRONT_", "CSRF_", "EMAIL_", "FILE_REQUEST_", "MALWARE_", "METRICS_", "OIDC_", "SECONDARY_S3_",
    "READ_DATABASE_", "SECRET_KEY", "SENTRY_", "SESSION_", "SHARE_", "TRASH_", "UPLOAD_",
)  # fmt: skip
