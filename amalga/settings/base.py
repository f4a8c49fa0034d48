"""The site: hosts, apps, middleware, templates, languages, static files, the task queue and logging."""

import re
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga import __version__, capacity
from amalga.log import configuration, log_format
from amalga.settings.env import boolean, integer, networks, raw_value, required, string, string_list, url, validated

BASE_DIR = Path(__file__).resolve().parents[2]

DEBUG = boolean("DEBUG", default=False)
HTTPS = boolean("HTTPS", default=True)
SECRET_KEY = required("SECRET_KEY")
SECRET_KEY_FALLBACKS = string_list("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = string_list("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = string_list("CSRF_TRUSTED_ORIGINS")
if not ALLOWED_HOSTS:
    required("ALLOWED_HOSTS")
    raise ImproperlyConfigured("ALLOWED_HOSTS must be the host names of the site, separated by commas.")
if SECRET_KEY in SECRET_KEY_FALLBACKS:
    raise ImproperlyConfigured("SECRET_KEY_FALLBACKS must be previous keys, not the current SECRET_KEY.")
for host in ALLOWED_HOSTS:
    # no browser sends any other text as its host, so every request would be rejected
    expected = "host names without https:// and port, separated by commas"
    validated("ALLOWED_HOSTS", host, r"\*|\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\]", expected=expected)
for origin in CSRF_TRUSTED_ORIGINS:
    parts = url("CSRF_TRUSTED_ORIGINS", origin)
    if parts.path or parts.query or parts.username:
        raise ImproperlyConfigured(
            "CSRF_TRUSTED_ORIGINS must be origins like https://files.example.org, without a path."
        )


def cookie_name(name: str, *, prefix: str = "__Host-") -> str:
    """Return the name of a cookie, over HTTPS with a prefix: that of a cookie for some paths is `__Secure-`."""
    return f"{prefix}{name}" if HTTPS else name


# What a browser remembers of the library: the layout and the sort order of lists, and that the card for new
# administrators is dismissed.
VIEW_COOKIE_NAME = cookie_name("view")
SORT_COOKIE_NAME = cookie_name("sort")
ONBOARDING_COOKIE_NAME = cookie_name("onboarding")


INSTALLED_APPS = [
    "uploads",
    "django_htmx",
    "django_tasks",
    "django_tasks_db",
    "amalga.apps.AmalgaAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]

# Middleware that only adds headers is first, so that every error response has them too. Sessions, users and the login
# check come before CSRF: the CSRF check reads the body of a form, and no body is read before the user is known. For
# anonymous users, who sign in, it only reads a body that has already arrived.
MIDDLEWARE = [
    "uploads.middleware.RequestIDMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "uploads.middleware.SecurityHeadersMiddleware",
    "uploads.middleware.HealthCheckMiddleware",
    "uploads.middleware.MetricsMiddleware",
    "uploads.middleware.GuessLimitMiddleware",
    "uploads.middleware.RequestValidationMiddleware",
    "uploads.middleware.ClientIPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "amalga.db.replica.ReadYourWritesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "uploads.accounts.sessions.SessionLimitMiddleware",
    "uploads.accounts.time_zones.TimeZoneMiddleware",
    "uploads.middleware.APILoginRequiredMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "amalga.urls"
WSGI_APPLICATION = "amalga.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "uploads.context_processors.uploader",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("es", "Español")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- static files ---------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# --- task queue -----------------------------------------------------------------------------
# The queue is a table; `manage.py worker` processes it.
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

# The number of our own proxies in front of gunicorn, each adding to X-Forwarded-For: the client address for the audit
# log is counted from the right.
PROXY_COUNT = integer("PROXY_COUNT", 0, minimum=0, maximum=10)
# gunicorn reads these itself (amalga/gunicorn_conf.py); here they are checked against the other settings.
FORWARDED_ALLOW_IPS = networks("FORWARDED_ALLOW_IPS")
WEB_CONCURRENCY = integer("WEB_CONCURRENCY", capacity.worker_count(), minimum=1, maximum=1000)
WEB_THREADS = integer("WEB_THREADS", capacity.THREADS, minimum=1, maximum=100)

# Where a test kills a process (uploads/failpoints.py); `check --deploy` allows none.
FAILPOINT = raw_value("FAILPOINT")

# --- logging, error reports and metrics ------------------------------------------------------
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
