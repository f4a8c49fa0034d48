"""The settings of the minimal view: those of Amalga, without middleware."""

from amalga import settings as amalga_settings

globals().update({name: value for name, value in vars(amalga_settings).items() if name.isupper()})
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "bench.minimal"
