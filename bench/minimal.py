"""The baseline of `make bench-load`: a Django view with one query and no middleware."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path


def minimal(request: HttpRequest) -> HttpResponse:
    name = User.objects.get(username="bench-member").username
    return HttpResponse(name, headers={"Content-Length": str(len(name))})


urlpatterns = [path("", minimal)]
