"""Settings of every place Amalga runs in; whatever differs between places is an environment variable.

A required variable that is missing, and a value that makes no sense, stop the start by name.
The table of all variables is in README.md.
"""

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environ import Env

from amalga.database import Connection

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()

MIB = 1024**2
S3_SMALLEST_PART = 5 * MIB  # S3 user guide, "Amazon S3 multipart upload limits"
S3_LARGEST_PART = 5 * 1024**3
S3_LARGEST_OBJECT = 10_000 * S3_LARGEST_PART
MOST_DIGITS = 20
MOST_NAME = 40  # of a store
OTHER_S3_VARIABLES = (
    "STORE_NAME", "BUCKET", "ENDPOINT", "REGION", "CHECKSUMS", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY",
)  # fmt: skip


def required(name: str) -> str:
    value = str(env.str(name, default="")).strip()
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it, or start with `python -m amalga.local` (as `make run` does)."
        )
    return value


def whole(name: str, default: int, *, least: int, most: int) -> int:
    text = str(env.str(name, default="")).strip() or str(default)
    is_number = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    if not is_number or not least <= int(text) <= most:
        raise ImproperlyConfigured(f"{name}={text[:50]} is not usable: it takes a whole number from {least} to {most}.")
    return int(text)


def switch(name: str, *, default: bool) -> bool:
    text = str(env.str(name, default="")).strip().lower()
    if text not in {"", "on", "off", "true", "false", "yes", "no", "1", "0"}:
        raise ImproperlyConfigured(f"{name}={text} is not usable: it takes on or off.")
    return text in {"on", "true", "yes", "1"} if text else default


def words(name: str) -> list[str]:
    return [word.strip() for word in str(env.str(name, default="")).split(",") if word.strip()]


def web_address(name: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ImproperlyConfigured(f"{name} is not usable: it takes a URL like https://s3.example.org.")


def database(name: str) -> dict[str, Any]:
    """The URL may hold a password: what is wrong with it is told without it."""
    url = required(name)
    try:
        found = dict(env.db_url_config(url)) if urlsplit(url).scheme in {"postgres", "postgresql"} else {}
    except (ValueError, ImproperlyConfigured):
        found = {}
    if not found.get("NAME"):
        raise ImproperlyConfigured(
            f"{name} is not usable: it takes postgres://user:password@host:port/database, odd characters as %XX."
        ) from None
    return found


def checksums(name: str) -> str:
    text = str(env.str(name, default="")).strip() or "sha256"
    if text not in {"sha256", "payload", "off"}:
        raise ImproperlyConfigured(f"{name}={text} is not usable: it takes sha256, payload or off.")
    return text


def store_name(name: str) -> str:
    text = str(env.str(name, default="")).strip()
    if len(text) > MOST_NAME or not text.isprintable():
        raise ImproperlyConfigured(f"{name} is not usable: it takes a word of at most {MOST_NAME} characters.")
    return text


def bucket_place(bucket: str, region: str, endpoint: str | None, *, variable: str) -> tuple[str, str]:
    """How the bucket is addressed, and its origin. Other stores than AWS are asked by path: few own a certificate
    for each bucket's name. Nor does AWS's own certificate cover a bucket with a dot in its name."""
    if endpoint:
        return "path", "{0.scheme}://{0.netloc}".format(web_address(variable, endpoint))
    virtual = "." not in bucket
    return "virtual" if virtual else "path", f"https://{bucket + '.' if virtual else ''}s3.{region}.amazonaws.com"


def other_store() -> tuple[dict[str, Any] | None, str | None]:
    """The second store and its origin, for as long as it is set. Half of one, or the first one again, is refused."""
    told = {name: str(env.str(f"OTHER_S3_{name}", default="")).strip() for name in OTHER_S3_VARIABLES}
    given = [f"OTHER_S3_{name}" for name, text in told.items() if text]
    if not told["BUCKET"]:
        if given:
            raise ImproperlyConfigured(
                f"OTHER_S3_BUCKET is not set, but {given[0]} is: set both, or none of OTHER_S3_*."
            )
        return None, None
    if bool(told["ACCESS_KEY_ID"]) != bool(told["SECRET_ACCESS_KEY"]):
        raise ImproperlyConfigured(
            "OTHER_S3_ACCESS_KEY_ID and OTHER_S3_SECRET_ACCESS_KEY go together: set both, or none."
        )
    name, endpoint = store_name("OTHER_S3_STORE_NAME"), told["ENDPOINT"] or None
    if name == S3_STORE_NAME:
        raise ImproperlyConfigured(
            "OTHER_S3_STORE_NAME is the name of the main store too (S3_STORE_NAME): they must differ."
        )
    region = told["REGION"] or S3_REGION
    if (told["BUCKET"], (endpoint or "").rstrip("/")) == (S3_BUCKET, (S3_ENDPOINT or "").rstrip("/")):
        raise ImproperlyConfigured("OTHER_S3_BUCKET is the bucket of AWS_STORAGE_BUCKET_NAME: it must be another one.")
    addressing, origin = bucket_place(told["BUCKET"], region, endpoint, variable="OTHER_S3_ENDPOINT")
    store = {
        "name": name,
        "bucket": told["BUCKET"],
        "endpoint": endpoint,
        "region": region,
        "addressing": addressing,
        "checksums": checksums("OTHER_S3_CHECKSUMS"),
        "access_key_id": told["ACCESS_KEY_ID"] or None,
        "secret_access_key": told["SECRET_ACCESS_KEY"] or None,
    }
    return store, origin


# --- the site -------------------------------------------------------------------------------
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
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "uploads.middleware.RefuseUnusable",
    "uploads.middleware.KnowAddress",
    "whitenoise.middleware.WhiteNoiseMiddleware",
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

# --- the database ---------------------------------------------------------------------------
# connect + statement stay below the ten seconds after which a person gets 503.
# The two last tell Postgres what lists are: a page reads a few rows out of an order, scattered over the table and
# none of them met before, from a disk that does not seek. By default it reckons a page at its share of reading all.
POSTGRES_OPTIONS = (
    "-c statement_timeout=8s -c lock_timeout=4s -c idle_in_transaction_session_timeout=15s"
    " -c random_page_cost=1.1 -c effective_cache_size=256MB"
)
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **database("DATABASE_URL"),
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
}
DATABASES["default"]["OPTIONS"] = {
    **DATABASES["default"].get("OPTIONS", {}),
    "connect_timeout": 3,
    "options": POSTGRES_OPTIONS,
    "pool": {
        "connection_class": Connection,
        "min_size": 1,
        "max_size": 16,
        # short: with 8 threads and 16 connections nobody waits but for a database that is away, and
        # whoever waits keeps a thread from the next one
        "timeout": 2,
        "reconnect_timeout": 2,
    },
}

# --- the bucket -----------------------------------------------------------------------------
S3_BUCKET = required("AWS_STORAGE_BUCKET_NAME")
S3_REGION = str(env.str("AWS_DEFAULT_REGION", default="") or env.str("AWS_REGION", default="")) or "us-east-1"
S3_ENDPOINT = str(env.str("AWS_ENDPOINT_URL_S3", default="") or env.str("AWS_ENDPOINT_URL", default="")) or None
S3_CHECKSUMS = checksums("S3_CHECKSUMS")
# What rows call this store. It only matters to an installation that has moved, or moves, from one store to another.
S3_STORE_NAME = store_name("S3_STORE_NAME")
# S3_ORIGIN is where browsers find the bucket, a foreign origin in the content security policy.
S3_ADDRESSING, S3_ORIGIN = bucket_place(S3_BUCKET, S3_REGION, S3_ENDPOINT, variable="AWS_ENDPOINT_URL_S3")
# A second store, only while files are moved from one to the other: a table of these, or none.
OTHER_S3, OTHER_S3_ORIGIN = other_store()
S3_ORIGINS = list(dict.fromkeys([S3_ORIGIN, *([OTHER_S3_ORIGIN] if OTHER_S3_ORIGIN else [])]))
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "uploads.s3.DeliveryStorage"},
    "staticfiles": {"BACKEND": "uploads.static.StaticStorage"},
}

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

# --- limits ---------------------------------------------------------------------------------
UPLOAD_PART_BYTES = whole("UPLOAD_PART_BYTES", 16 * MIB, least=S3_SMALLEST_PART, most=S3_LARGEST_PART)
UPLOAD_MAX_BYTES = whole("UPLOAD_MAX_BYTES", 5 * 1024**4, least=1, most=S3_LARGEST_OBJECT)
UPLOAD_QUOTA_BYTES = whole("UPLOAD_QUOTA_BYTES", 10 * 1024**4, least=1, most=2**62)
UPLOAD_QUOTA_FILES = whole("UPLOAD_QUOTA_FILES", 1_000_000, least=1, most=2**62)
UPLOAD_EXPIRY_HOURS = whole("UPLOAD_EXPIRY_HOURS", 7 * 24, least=1, most=90 * 24)
UPLOAD_REFUSED_TYPES = [word.lower() for word in words("UPLOAD_REFUSED_TYPES")]
TRASH_DAYS = whole("TRASH_DAYS", 30, least=0, most=3650)

DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * MIB  # finishing a file of 10,000 parts takes half a MiB of digests
DATA_UPLOAD_MAX_NUMBER_FILES = 100
# Only the upload form takes files, by a handler of its own.
FILE_UPLOAD_HANDLERS = ["uploads.views.form_upload.RefuseFiles"]

# --- static files ---------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# --- people ---------------------------------------------------------------------------------
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "library"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
SESSION_COOKIE_NAME = "__Host-amalga-session" if HTTPS else "amalga-session"
CSRF_COOKIE_NAME = "__Host-amalga-csrf" if HTTPS else "amalga-csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
LANGUAGE_COOKIE_NAME = "amalga-language"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SECURE = HTTPS
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "uploads.views.errors.csrf_failure"
SESSION_COOKIE_AGE = 14 * 24 * 3600

# --- what browsers are told -----------------------------------------------------------------
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", *S3_ORIGINS],
        "media-src": [SELF, *S3_ORIGINS],
        "frame-src": [SELF, *S3_ORIGINS],
        "font-src": [SELF],
        "connect-src": [SELF, *S3_ORIGINS],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- logs -----------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Django's own console handler speaks only with DEBUG; the root one always does.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.request": {"level": "ERROR"},
        # botocore writes headers and URLs, signatures among them, below this level
        "botocore": {"level": "WARNING"},
        "urllib3": {"level": "ERROR"},
    },
}
