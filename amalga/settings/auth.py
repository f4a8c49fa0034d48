"""Accounts: sign-in, two-factor authentication, sessions and passwords."""

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from amalga.settings.base import HTTPS, cookie_name
from amalga.settings.env import boolean, integer, string

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "library"
LOGOUT_REDIRECT_URL = "login"
# only one, because Django asks every backend for permissions
AUTHENTICATION_BACKENDS = ["uploads.accounts.backends.PermissionBackend"]
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTH_PASSWORD_VALIDATORS.append(
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    }
)
SESSION_ENGINE = "uploads.accounts.sessions"
SESSION_COOKIE_NAME = cookie_name("amalga-session")
CSRF_COOKIE_NAME = cookie_name("amalga-csrf")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
LANGUAGE_COOKIE_NAME = cookie_name("amalga-language")
TIME_ZONE_COOKIE_NAME = cookie_name("timezone")  # set by uploads/static/uploads/js/timezone.js
MESSAGES_COOKIE_NAME = cookie_name("amalga-messages")
MESSAGE_STORAGE = "amalga.messages.HostFallbackStorage"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SECURE = HTTPS
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "uploads.views.errors.csrf_failure"

# --- sessions -------------------------------------------------------------------------------
SESSION_IDLE_HOURS = integer("SESSION_IDLE_HOURS", 24, minimum=1, maximum=90 * 24)
SESSION_ABSOLUTE_DAYS = integer("SESSION_ABSOLUTE_DAYS", 14, minimum=1, maximum=365)
if SESSION_IDLE_HOURS > SESSION_ABSOLUTE_DAYS * 24:
    raise ImproperlyConfigured(
        f"SESSION_IDLE_HOURS ({SESSION_IDLE_HOURS}) must not be longer than SESSION_ABSOLUTE_DAYS "
        f"({SESSION_ABSOLUTE_DAYS})."
    )
SESSION_COOKIE_AGE = SESSION_IDLE_HOURS * 3600
# a browser with an earlier sign-in; it gives no access by itself
DEVICE_COOKIE_NAME = cookie_name("amalga-device")
DEVICE_COOKIE_DAYS = 180

INVITATION_DAYS = integer("INVITATION_DAYS", 7, minimum=1, maximum=90)  # how long an invitation can be accepted

# --- cache shared by all processes ----------------------------------------------------------
# one-time codes that were already used; a Postgres table works as well
CACHE_URL = string("CACHE_URL")


def cache(url: str) -> dict[str, Any]:
    """Return the cache settings. Error messages leave out the URL, which can contain a password."""
    if not url:
        return {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "uploads_cache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},  # Django's default of 300 would drop codes that were just used
        }
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ImproperlyConfigured("CACHE_URL must be like redis://host:port/0 or rediss://host:port/0.")
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 2},
    }


CACHES = {
    "default": cache(CACHE_URL),
    # parts of pages in each process, a few kB each
    "template_fragments": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "template_fragments",
        "OPTIONS": {"MAX_ENTRIES": 100},
    },
    # the rows of whole lists in each process, about 60 kB each, and single rows, about 2 kB each: every upload changes
    # the first pages, but one row of them
    "lists": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "lists",
        "OPTIONS": {"MAX_ENTRIES": 20},
    },
    "rows": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "rows",
        "OPTIONS": {"MAX_ENTRIES": 500},
    },
}

# --- django-allauth: its flows, with our forms and limits -----------------------------------
STAFF_SECOND_FACTOR = boolean("STAFF_SECOND_FACTOR", default=HTTPS)
ACCOUNT_ADAPTER = "uploads.accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "uploads.accounts.forms.LoginForm",
    "reauthenticate": "uploads.accounts.forms.ReauthenticateForm",
    "change_password": "uploads.accounts.forms.PasswordChangeForm",
}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = [
    "username*",
    "password1*",
    "password2*",
]  # there is no sign-up, but allauth checks that both settings agree
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False  # uploads/accounts/throttling.py counts in Postgres, and says how long to wait
ACCOUNT_REAUTHENTICATION_TIMEOUT = 600
ACCOUNT_LOGIN_TIMEOUT = 900
MFA_ADAPTER = "uploads.accounts.adapter.EncryptedMFAAdapter"
MFA_FORMS = {
    "activate_totp": "uploads.accounts.forms.ActivateTOTPForm",
    "authenticate": "uploads.accounts.forms.TOTPForm",
    "reauthenticate": "uploads.accounts.forms.ReauthenticateTOTPForm",
    "add_webauthn": "uploads.accounts.forms.AddPasskeyForm",
    "edit_webauthn": "uploads.accounts.forms.RenamePasskeyForm",
    "authenticate_webauthn": "uploads.accounts.forms.SecondFactorForm",
    "login_webauthn": "uploads.accounts.forms.SignInForm",
    "reauthenticate_webauthn": "uploads.accounts.forms.ConfirmForm",
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RATE_LIMITS = False  # as ACCOUNT_RATE_LIMITS
MFA_TOTP_ISSUER = "Amalga"
MFA_TOTP_TOLERANCE = 1  # a phone's clock can be off by half a minute
