"""People and roles, with what each person has stored and may store."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.admin.recorded import LargeAdmin, Recorded
from uploads.models import File, Usage
from uploads.templatetags.look import in_bytes

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PeopleAdmin(LargeAdmin, UserAdmin):  # type: ignore[type-arg]
    list_display = ("username", "email", "is_active", "is_staff", "stored_files", "stored", "share", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    list_select_related = ("usage",)
    sortable_by = ("username", "is_active", "is_staff", "stored_files", "stored", "last_login")

    @admin.display(description=gettext_lazy("files"), ordering="usage__files")
    def stored_files(self, person: User) -> int:
        return usage_of(person).files

    @admin.display(description=gettext_lazy("stored"), ordering="usage__bytes")
    def stored(self, person: User) -> str:
        return in_bytes(usage_of(person).bytes)

    @admin.display(description=gettext_lazy("of the space"))
    def share(self, person: User) -> str:
        return share_of(usage_of(person))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Whoever has files stays; said so without reading a million of them, and without their names."""
        owners = [person for person in objs if File.objects.filter(owner=person).exists()]
        if owners:
            told = [_("The files of %(name)s") % {"name": person} for person in owners]
            return [str(person) for person in objs], {}, set(), told
        return super().get_deleted_objects(objs, request)


@admin.register(Group)
class RoleAdmin(Recorded, GroupAdmin):
    pass


@admin.register(Usage)
class UsageAdmin(LargeAdmin):
    """What each person has stored or reserved; kept by the services, never by hand."""

    list_display = ("owner", "files", "stored", "limit", "share", "their_files")
    list_select_related = ("owner",)
    list_display_links = ("owner",)
    ordering = ("-bytes", "owner_id")
    search_fields = ("owner__username",)
    fields = ("owner", "files", "bytes", "stored", "limit", "share")
    readonly_fields = fields
    sortable_by = ("owner", "files", "stored")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Usage]:
        return Usage.objects.all()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Usage | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Usage | None = None) -> bool:
        return False

    @admin.display(description=gettext_lazy("stored"), ordering="bytes")
    def stored(self, usage: Usage) -> str:
        return in_bytes(usage.bytes)

    @admin.display(description=gettext_lazy("limit"))
    def limit(self, usage: Usage) -> str:
        return in_bytes(settings.UPLOAD_QUOTA_BYTES)

    @admin.display(description=gettext_lazy("of the space"))
    def share(self, usage: Usage) -> str:
        return share_of(usage)

    @admin.display(description="")
    def their_files(self, usage: Usage) -> str:
        query = {"owner": usage.owner.get_username()}
        return format_html('<a href="{}">{}</a>', reverse("admin:uploads_file_changelist", query=query), _("Files"))


def usage_of(person: User) -> Usage:
    """Of somebody who never uploaded: nothing."""
    return getattr(person, "usage", None) or Usage(owner=person)


def share_of(usage: Usage) -> str:
    return f"{100 * usage.bytes / settings.UPLOAD_QUOTA_BYTES:.0f}\u00a0%"
