from typing import NoReturn

from django.contrib import admin
from django.http import Http404, HttpRequest
from django.urls import include, path

from uploads.views.preferences import set_language


def deny(request: HttpRequest, **_: str) -> NoReturn:
    """Replace the admin's redirect to a page, which checks no permission and fails for an invalid ID."""
    raise Http404


urlpatterns = [
    path("", include("uploads.urls")),
    path("accounts/", include("uploads.accounts.urls")),
    path("i18n/setlang/", set_language, name="set_language"),
    path("admin/r/<path:address>", deny, name="nowhere"),
    path("admin/", admin.site.urls),
]

handler400 = "uploads.views.errors.bad_request"
handler403 = "uploads.views.errors.forbidden"
handler404 = "uploads.views.errors.not_found"
handler500 = "uploads.views.errors.server_error"
