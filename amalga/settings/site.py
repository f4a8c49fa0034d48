"""The site itself: hosts, apps, middleware, templates, languages, static files, and work that can wait."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.settings.environment import env, required, switch, web_address, whole, words

BASE_DIR = Path(__file__).resolve().parents[2]

DEBUG = switch("DEBUG", default=False)
HTTPS = switch("HTTPS", default=True)
SECRET_KEY = required("SECRET_KEY")
SECRET_KEY_FALLBACKS = words("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")
for origin in CSRF_TRUSTED_ORIGINS:
    web_address("CSRF_TRUSTED_ORIGINS", origin)
if not ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS is not set. Name the hosts that people type, by commas.")

INSTALLED_APPS = [
    "uploads",
    "django_htmx",
    "django_tasks",
    "django_tasks_db",
    "amalga.apps.LibraryAdmin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]

# What only adds headers stands first, so that every refusal carries them too. Sessions, people and
# the login check stand before CSRF: the CSRF check reads the body of a form, and nobody's body is
# read before we know whose it is.
MIDDLEWARE = [
    "uploads.middleware.NameRequest",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "uploads.middleware.AnswerProbes",
    "uploads.middleware.RefuseUnusable",
    "uploads.middleware.KnowAddress",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "amalga.replica.OwnWrites",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "uploads.middleware.LoginRequired",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
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
                "uploads.context.uploader",
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
PROXY_COUNT = whole("PROXY_COUNT", 0, least=0, most=10)
# gunicorn's own, which reads them itself (amalga/gunicorn.py); here they are held against the other settings.
FORWARDED_ALLOW_IPS = words("FORWARDED_ALLOW_IPS")
WEB_CONCURRENCY = whole("WEB_CONCURRENCY", 2, least=1, most=1000)

# Where a test lets a process die (uploads/faultpoints.py); `check --deploy` refuses any.
FAULT_POINT = str(env.str("FAULT_POINT", default=""))
