"""Settings of every place Amalga runs in; whatever differs between places is an environment variable.

A required variable that is missing, and a value that makes no sense, stop the start by name.
The table of all variables is in README.md.
"""

from amalga.settings.database import *
from amalga.settings.delivery import *
from amalga.settings.environment import refuse_misspelt, unread
from amalga.settings.headers import *
from amalga.settings.limits import *
from amalga.settings.logs import *
from amalga.settings.people import *
from amalga.settings.site import *
from amalga.settings.store import *

refuse_misspelt()
# Names that begin as ours do, and mean nothing: `check --deploy` tells them (uploads/checks.py).
UNREAD_VARIABLES = unread(
    "CLOUDFRONT_", "CSRF_", "METRICS_", "OIDC_", "OTHER_S3_", "READ_DATABASE_", "SECRET_KEY", "SENTRY_", "SESSION_",
    "TRASH_", "UPLOAD_",
)  # fmt: skip
