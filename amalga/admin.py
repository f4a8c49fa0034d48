"""Django's admin site with our name and the storage dashboard. It imports the app inside methods only, because the app
is not ready when this module is loaded."""

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

# People first, then the library; the queue of the worker, which is for experts, comes last.
APP_ORDER = ("auth", "uploads")
MODEL_ORDER = ("User", "Group", "File", "Folder", "Tag", "Usage", "Event", "Report")


class AmalgaAdminSite(admin.AdminSite):
    site_header = site_title = "Amalga"
    index_title = gettext_lazy("Overview")
    site_url = "/"

    def get_urls(self) -> list[Any]:
        return [path("storage/", self.admin_view(self.storage), name="storage"), *super().get_urls()]

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the user can see the admin, which can require two-factor authentication for the session."""
        from uploads.accounts.factors import is_mfa_verified

        return super().has_permission(request) and (not settings.STAFF_SECOND_FACTOR or is_mfa_verified(request))

    @method_decorator(login_not_required)
    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the site's sign-in page: one rate limit and one two-factor authentication for everyone."""
        from uploads.accounts.views import admin_login

        return admin_login(request)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return HttpResponseRedirect(reverse("account_change_password"))

    def storage(self, request: HttpRequest) -> HttpResponse:
        from uploads.admin.storage import storage

        return storage(request, self.each_context(request))

    def index(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Begin with the storage totals and their growth, for people who may see them."""
        from uploads.admin.storage import overview

        context = dict(extra_context or {})
        if request.user.has_perm("uploads.view_statistic"):
            context |= overview(request, default_range="90")
        return super().index(request, context)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return what the person may see in the order of their work, and background tasks to superusers only."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=lambda model: _position(MODEL_ORDER, model["object_name"]))
        visible = [app for app in apps if request.user.is_superuser or app["app_label"] in APP_ORDER]
        return sorted(visible, key=lambda app: _position(APP_ORDER, app["app_label"]))


def _position(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)
