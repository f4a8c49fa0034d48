"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")

django_application = get_wsgi_application()

from uploads.wsgi import GuessLimitApplication  # noqa: E402 - it needs the settings and apps

application = GuessLimitApplication(django_application)
