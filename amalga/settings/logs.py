"""What is written down of each request, and how."""

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
