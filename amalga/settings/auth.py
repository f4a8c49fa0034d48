"""Accounts: sign-in, two-factor authentication, single sign-on, sessions and passwords."""

from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from amalga.settings.base import HTTPS
from amalga.settings.env import boolean, env, integer, url

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
SESSION_COOKIE_NAME = "__Host-amalga-session" if HTTPS else "amalga-session"
CSRF_COOKIE_NAME = "__Host-amalga-csrf" if HTTPS else "amalga-csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
LANGUAGE_COOKIE_NAME = "__Host-amalga-language" if HTTPS else "amalga-language"
MESSAGES_COOKIE_NAME = "__Host-amalga-messages" if HTTPS else "amalga-messages"
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
DEVICE_COOKIE_NAME = "__Host-amalga-device" if HTTPS else "amalga-device"
DEVICE_COOKIE_DAYS = 180

# --- cache shared by all processes ----------------------------------------------------------
# one-time codes that were already used; a Postgres table works as well
CACHE_URL = str(env.str("CACHE_URL", default="")).strip()


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
    # parts of pages in each process; the largest are the rows of a list, about 50 kB
    "template_fragments": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100},
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
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Amalga"
MFA_TOTP_TOLERANCE = 1  # a phone's clock can be off by half a minute

# --- single sign-on -------------------------------------------------------------------------
OIDC_ISSUER = str(env.str("OIDC_ISSUER", default="")).strip().rstrip("/")
OIDC_CLIENT_ID = str(env.str("OIDC_CLIENT_ID", default="")).strip()
OIDC_CLIENT_SECRET = str(env.str("OIDC_CLIENT_SECRET", default="")).strip()
OIDC_NAME = str(env.str("OIDC_NAME", default="")).strip()


def single_sign_on() -> list[dict[str, Any]]:
    variables = {"OIDC_ISSUER": OIDC_ISSUER, "OIDC_CLIENT_ID": OIDC_CLIENT_ID, "OIDC_CLIENT_SECRET": OIDC_CLIENT_SECRET}
    given = [name for name, text in variables.items() if text]
    missing = [name for name, text in variables.items() if not text]
    if missing and (given or OIDC_NAME):
        raise ImproperlyConfigured(
            f"{missing[0]} is not set, but {(given or ['OIDC_NAME'])[0]} is. Set all OIDC_* variables."
        )
    if not given:
        return []
    if url("OIDC_ISSUER", OIDC_ISSUER).scheme != "https" and HTTPS:
        raise ImproperlyConfigured("OIDC_ISSUER must be an https:// URL.")
    return [
        {
            # specific to the issuer: the same user ID at another issuer is another person
            "provider_id": f"sso-{sha256(OIDC_ISSUER.encode()).hexdigest()[:12]}",
            "name": OIDC_NAME or "single sign-on",
            "client_id": OIDC_CLIENT_ID,
            "secret": OIDC_CLIENT_SECRET,
            "settings": {"server_url": OIDC_ISSUER, "oauth_pkce_enabled": True},
        }
    ]


SOCIALACCOUNT_ADAPTER = "uploads.accounts.oidc.SocialAccountAdapter"
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": single_sign_on()}}
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 2
