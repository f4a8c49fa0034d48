"""The settings of the minimal view: ours, without what stands before a view."""

from amalga import settings as ours

globals().update({name: value for name, value in vars(ours).items() if name.isupper()})
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "bench.minimal"
