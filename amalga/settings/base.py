"""The site itself: hosts, apps, middleware, templates, languages, static files, and work that can wait."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga import capacity
from amalga.settings.env import boolean, env, integer, networks, required, string_list, url, validated

BASE_DIR = Path(__file__).resolve().parents[2]

DEBUG = boolean("DEBUG", default=False)
HTTPS = boolean("HTTPS", default=True)
SECRET_KEY = required("SECRET_KEY")
SECRET_KEY_FALLBACKS = string_list("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = string_list("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = string_list("CSRF_TRUSTED_ORIGINS")
if not ALLOWED_HOSTS:
    required("ALLOWED_HOSTS")
    raise ImproperlyConfigured("ALLOWED_HOSTS names no host. Name those that people type, by commas.")
if SECRET_KEY in SECRET_KEY_FALLBACKS:
    raise ImproperlyConfigured("SECRET_KEY_FALLBACKS holds SECRET_KEY itself: it takes the ones before it.")
for host in ALLOWED_HOSTS:
    # whatever else stands there would be no host that a browser names, and every request would be refused
    takes = "names of hosts without https:// and port, by commas"
    validated("ALLOWED_HOSTS", host, r"\*|\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\]", takes=takes)
for origin in CSRF_TRUSTED_ORIGINS:
    parts = url("CSRF_TRUSTED_ORIGINS", origin)
    if parts.path or parts.query or parts.username:
        raise ImproperlyConfigured(
            "CSRF_TRUSTED_ORIGINS is not usable: it takes origins like https://files.example.org, and nothing behind."
        )

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
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]

# What only adds headers stands first, so that every refusal carries them too. Sessions, people and
# the login check stand before CSRF: the CSRF check reads the body of a form, and nobody's body is
# read before we know whose it is. Of a stranger, who signs in, only a body that is already here is read.
MIDDLEWARE = [
    "uploads.middleware.RequestIDMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "amalga.middleware.SecurityHeadersMiddleware",
    "uploads.middleware.HealthCheckMiddleware",
    "uploads.middleware.MetricsMiddleware",
    "uploads.middleware.RequestValidationMiddleware",
    "uploads.middleware.ClientIPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "amalga.db.replica.ReadYourWritesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "uploads.accounts.sessions.SessionLimitMiddleware",
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

# --- work that can wait ---------------------------------------------------------------------
# The queue is a table; `manage.py worker` works it off.
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

# How many proxies of our own stand before gunicorn, each adding to X-Forwarded-For: the address that the activity
# log keeps is counted from the right.
PROXY_COUNT = integer("PROXY_COUNT", 0, least=0, most=10)
# gunicorn's own, which reads them itself (amalga/gunicorn_conf.py); here they are held against the other settings.
FORWARDED_ALLOW_IPS = networks("FORWARDED_ALLOW_IPS")
WEB_CONCURRENCY = integer("WEB_CONCURRENCY", capacity.worker_count(), least=1, most=1000)
WEB_THREADS = integer("WEB_THREADS", capacity.THREADS, least=1, most=100)

# Where a test lets a process die (uploads/failpoints.py); `check --deploy` refuses any.
FAULT_POINT = str(env.str("FAULT_POINT", default=""))
