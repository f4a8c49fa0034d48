"""The settings of the minimal view: ours, without what stands before a view."""

from amalga.settings import *

INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "bench.minimal"
