"""The baseline of `make bench-load`, settings and URLs at once: a Django view with one query and no middleware."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from amalga import settings as amalga_settings

globals().update({name: value for name, value in vars(amalga_settings).items() if name.isupper()})
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "bench.minimal"


def minimal(request: HttpRequest) -> HttpResponse:
    from django.contrib.auth.models import User  # the apps are not ready when settings are read

    name = User.objects.get(username="bench-member").username
    return HttpResponse(name, headers={"Content-Length": str(len(name))})


urlpatterns = [path("", minimal)]
