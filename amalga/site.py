"""Django's admin site with our name and the storage dashboard. It registers nothing, so it imports nothing of the app
before it is there."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.translation import gettext_lazy


class LibrarySite(admin.AdminSite):
    site_header = site_title = "Amalga"
    index_title = gettext_lazy("Files and people")
    site_url = "/"

    def get_urls(self) -> list[Any]:
        return [path("storage/", self.admin_view(self.storage), name="storage"), *super().get_urls()]

    def storage(self, request: HttpRequest) -> HttpResponse:
        from uploads.admin.storage import storage

        return storage(request, self.each_context(request))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        may = self.has_permission(request) and request.user.has_perm("uploads.view_figure")
        return {**super().each_context(request), "may_see_storage": may}
