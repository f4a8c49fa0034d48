"""Expected statuses of the account pages for each role, for tests/views/test_routes.py."""

SAFE = ("GET", "HEAD")
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SIGN_IN = {
    "GET": "200 302 302 302 302 302 302",
    "POST": "200 302 302 302 302 302 302",
    "PUT": "200 302 302 302 302 302 302",
    "PATCH": "405 302 302 302 302 302 302",
    "DELETE": "405 302 302 302 302 302 302",
    "OPTIONS": "200 302 302 302 302 302 302",
}
ACCOUNTS: dict[str, dict[str, str]] = {
    "login": SIGN_IN,
    "account_login": SIGN_IN,
    # no user here has a password or a second factor, and single sign-on is off
    "sso": {
        **dict.fromkeys(VERBS, "405 405 405 405 405 405 405"),
        **dict.fromkeys(SAFE, "404 404 404 404 404 404 404"),
    },
    "sso_callback": {
        **dict.fromkeys(VERBS, "405 405 405 405 405 405 405"),
        **dict.fromkeys(SAFE, "404 404 404 404 404 404 404"),
    },
    "sso_connect": {"POST": "login 404 404 404 404 404 404"},
    "sso_disconnect": {"POST": "login 404 404 404 404 404 404"},
    "passkey_options": {
        **dict.fromkeys(VERBS, "405 405 405 405 405 405 405"),
        "POST": "404 404 404 404 404 404 404",
    },
    "mfa_login_webauthn": {
        **dict.fromkeys(VERBS, "405 302 302 302 302 302 302"),
        **dict.fromkeys((*SAFE, "POST", "PUT"), "login 302 302 302 302 302 302"),
        "OPTIONS": "200 302 302 302 302 302 302",
    },
    "mfa_reauthenticate_webauthn": dict.fromkeys(VERBS, "login 403 403 403 403 403 403"),
    "mfa_add_webauthn": dict.fromkeys(VERBS, "login 404 404 404 404 404 404"),
    "mfa_edit_webauthn": {
        **dict.fromkeys(("GET", "POST", "PUT"), "login 404 404 404 404 404 404"),
        "OPTIONS": "login 200 200 200 200 200 200",
    },
    "mfa_remove_webauthn": {
        **dict.fromkeys(("GET", "POST", "DELETE"), "login 404 404 404 404 404 404"),
        "OPTIONS": "login 200 200 200 200 200 200",
    },
    "mfa_authenticate": dict.fromkeys(VERBS, "login 302 302 302 302 302 302"),
    "account_reauthenticate": dict.fromkeys(VERBS, "login 403 403 403 403 403 403"),
    "mfa_reauthenticate": dict.fromkeys(VERBS, "login 403 403 403 403 403 403"),
    "account_change_password": dict.fromkeys(VERBS, "login 403 403 403 403 403 403"),
    "mfa_index": dict.fromkeys(("GET", "OPTIONS"), "login 200 200 200 200 200 200"),
    "end_other_sessions": {"POST": "login 302 302 302 302 302 302"},
    "time_zone": {"POST": "login 302 302 302 302 302 302"},
    "mfa_activate_totp": dict.fromkeys(("GET", "POST", "PUT", "OPTIONS"), "login 200 200 200 200 200 200"),
    "mfa_deactivate_totp": dict.fromkeys(VERBS, "login 404 404 404 404 404 404"),
    "mfa_view_recovery_codes": {
        "GET": "login 404 404 404 404 404 404",
        "OPTIONS": "login 200 200 200 200 200 200",
    },
    "mfa_generate_recovery_codes": dict.fromkeys(("GET", "POST", "PUT", "OPTIONS"), "login 200 200 200 200 200 200"),
    "mfa_download_recovery_codes": dict.fromkeys(VERBS, "login 404 404 404 404 404 404"),
    "logout": {
        **dict.fromkeys(VERBS, "405 405 405 405 405 405 405"),
        "POST": "login login login login login login login",
        "OPTIONS": "200 200 200 200 200 200 200",
    },
}


def may_have_changed(verb: str, status: str) -> bool:
    """Return whether a request with this response may have changed the objects in its URL."""
    return verb not in {"GET", "HEAD", "OPTIONS", "TRACE"} and status not in {"login", "403", "404", "405"}
