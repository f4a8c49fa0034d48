"""The admin: the second home of those who look after the files."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads import services
from uploads.errors import Problem
from uploads.models import File, Usage
from uploads.names import clean_name
from uploads.views.people import signed_in

admin.site.site_header = admin.site.site_title = "Amalga"
admin.site.index_title = gettext_lazy("Files and people")


@admin.register(File)
class FileAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Files this person may see. What ties a row to the bucket is read-only; "delete" is the trash."""

    list_display = ("name", "state", "readable_size", "owner", "key", "available_at", "link")
    list_filter = ("state", "visibility", "checksum_basis")
    list_select_related = ("owner",)
    search_fields = ("name", "=key", "owner__username")
    search_help_text = gettext_lazy("A part of the name or of the owner's name, or a whole key")
    date_hierarchy = "available_at"
    ordering = ("-created_at", "-id")
    list_per_page = 50
    show_full_result_count = False
    view_on_site = False  # `link` leads there
    fields = ("name", "folder", "visibility", "link", "owner", "state", "size", "key", "etag",
              "checksum", "checksum_algorithm", "checksum_basis", "claimed_type", "detected_type",
              "part_size", "created_at", "available_at", "checked_at", "purge_after")  # fmt: skip
    readonly_fields = tuple(name for name in fields if name not in {"name", "visibility"})

    def get_queryset(self, request: HttpRequest) -> QuerySet[File]:
        return File.objects.visible_to(request.user)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """A year that no calendar has is nonsense like any other; Django lets it through to a fault."""
        try:
            return super().get_changelist_instance(request)
        except (OverflowError, ValueError) as error:
            raise IncorrectLookupParameters from error

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # files come by the upload page

    def has_delete_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        if obj is None or not allowed:
            return allowed
        return File.objects.removable_by(request.user).available().filter(pk=obj.pk).exists()

    def save_model(self, request: HttpRequest, obj: File, form: Any, change: bool) -> None:
        """Write what was edited and nothing else: the state may have moved since the page was shown."""
        File.objects.filter(pk=obj.pk).update(name=clean_name(obj.name), visibility=obj.visibility)

    def delete_model(self, request: HttpRequest, obj: File) -> None:
        self._trash_after_commit(request, [obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> None:
        self._trash_after_commit(request, list(queryset.values_list("pk", flat=True)))

    def _trash_after_commit(self, request: HttpRequest, pks: list[UUID]) -> None:
        """The admin deletes inside a transaction; the service runs once that is over."""
        transaction.on_commit(lambda: _trash(request, pks))

    @admin.display(description=gettext_lazy("size"), ordering="size")
    def readable_size(self, file: File) -> str:
        from uploads.templatetags.look import in_bytes

        return in_bytes(file.size)

    @admin.display(description=gettext_lazy("link"))
    def link(self, file: File) -> str:
        if file.state != "available":
            return "–"
        return format_html('<a href="{}">{}</a>', reverse("file", args=[file.pk]), _("Open"))


@admin.register(Usage)
class UsageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("owner", "files", "bytes")
    list_select_related = ("owner",)
    search_fields = ("owner__username",)
    readonly_fields = ("owner", "files", "bytes")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Usage | None = None) -> bool:
        return False


def _trash(request: HttpRequest, pks: list[UUID]) -> None:
    refused = 0
    for file in File.objects.removable_by(request.user).filter(pk__in=pks):
        try:
            services.trash(file, by=signed_in(request))
        except Problem:
            refused += 1
    if refused:
        messages.warning(
            request,
            _("%(count)s files were left: they are not available now.") % {"count": refused},
        )
