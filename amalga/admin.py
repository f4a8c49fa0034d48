"""Django's admin site with our name and the storage dashboard. It registers nothing, so it imports nothing of the app
before it is there."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache


class AmalgaAdminSite(admin.AdminSite):
    site_header = site_title = "Amalga"
    index_title = gettext_lazy("Files and people")
    site_url = "/"

    def get_urls(self) -> list[Any]:
        return [path("storage/", self.admin_view(self.storage), name="storage"), *super().get_urls()]

    def has_permission(self, request: HttpRequest) -> bool:
        """Where administrators need a second factor, a session without one is nobody's here."""
        from uploads.accounts.forms import proved_by_code

        return super().has_permission(request) and (not settings.STAFF_SECOND_FACTOR or proved_by_code(request))

    @method_decorator(login_not_required)
    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The login page of everybody: one door, one limit, one second factor."""
        from uploads.accounts.views import admin_login

        return admin_login(request)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return HttpResponseRedirect(reverse("account_change_password"))

    def storage(self, request: HttpRequest) -> HttpResponse:
        from uploads.admin.storage import storage

        return storage(request, self.each_context(request))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        may = self.has_permission(request) and request.user.has_perm("uploads.view_figure")
        return {**super().each_context(request), "may_see_storage": may}
