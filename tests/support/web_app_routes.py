"""Expected statuses of the routes of the installable web app, the same for everyone, signed in or not."""

from tests.support.account_routes import VERBS

SAFE = {**dict.fromkeys(VERBS, 405), "GET": 200, "HEAD": 200}
WEB_APP_ROUTES: dict[str, dict[str, int]] = {
    "manifest": SAFE,
    "share_worker": SAFE,
    "share_target": {**dict.fromkeys(VERBS, 405), "POST": 409},  # the service worker answers the others
}
