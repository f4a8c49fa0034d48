"""Settings of every place Amalga runs in; whatever differs between places is an environment variable.

A required variable that is missing, and a value that makes no sense, stop the start by name.
The table of all variables is in README.md.
"""

from amalga.settings.auth import *
from amalga.settings.base import *
from amalga.settings.database import *
from amalga.settings.env import reject_misspelled, unknown_variables
from amalga.settings.limits import *
from amalga.settings.logging import *
from amalga.settings.security import *
from amalga.settings.storage import *

reject_misspelled()
# Names that begin as ours do, and mean nothing: `check --deploy` tells them (uploads/checks.py).
UNKNOWN_VARIABLES = unknown_variables(
    "CLOUDFRONT_", "CSRF_", "METRICS_", "OIDC_", "OTHER_S3_", "READ_DATABASE_", "SECRET_KEY", "SENTRY_", "SESSION_",
    "TRASH_", "UPLOAD_",
)  # fmt: skip
