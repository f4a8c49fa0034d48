"""People, roles and quotas in the admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import allauth.account.admin
import allauth.mfa.admin
import allauth.socialaccount.admin
import allauth.usersessions.admin  # noqa: F401  (registers the admins that are unregistered below)
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet, prefetch_related_objects
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.accounts.people import deactivate, reactivate, require_deactivatable, set_email, usage_of
from uploads.accounts.roles import is_manageable, role_of
from uploads.admin.base import AuditedModelAdmin, LargeTableAdmin, render_cell
from uploads.errors import Problem
from uploads.models import File, Usage
from uploads.services import sign_in_events
from uploads.templatetags.formatting import exact_time, filesize, when
from uploads.views.responses import request_user

admin.site.unregister(User)
admin.site.unregister(Group)
# Credentials are changed by their owner or removed as a whole; administrators cannot see the secrets.
for model in (EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken, UserSession):
    admin.site.unregister(model)


PRIVILEGE_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


class AccountForm(UserChangeForm):  # type: ignore[type-arg]
    by: ClassVar[User]  # the person who changes the account

    def clean_is_active(self) -> bool:
        is_active: bool = self.cleaned_data["is_active"]
        if self.instance.is_active and not is_active:
            try:
                require_deactivatable(self.instance, by=self.by)
            except Problem as problem:
                raise ValidationError(problem.message) from None
        return is_active


@admin.register(User)
class UserAdmin(LargeTableAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    form = AccountForm
    list_display = ("username", "email", "role", "is_active", "stored", "share", "last_sign_in")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    list_select_related = ("usage",)
    sortable_by = ("username", "is_active", "stored", "last_sign_in")
    actions = ("end_sessions", "forget_factors")
    filter_horizontal = ()  # that widget names a plain element for screen readers, which ARIA prohibits

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Read the groups of one page of users, for their roles, with one query."""
        prefetch_related_objects(rows, "groups")

    @admin.action(description=gettext_lazy("End all sessions"), permissions=["change"])
    def end_sessions(self, request: HttpRequest, people: QuerySet[User]) -> None:
        ended = sum(
            sign_in_events.end_sessions(person, by=request_user(request))
            for person in self._manageable(request, people)
        )
        text = ngettext("Ended %(count)s session.", "Ended %(count)s sessions.", ended)
        messages.success(request, text % {"count": ended})

    @admin.action(
        description=gettext_lazy("Reset two-factor authentication and end all sessions"), permissions=["change"]
    )
    def forget_factors(self, request: HttpRequest, people: QuerySet[User]) -> None:
        for person in self._manageable(request, people):
            sign_in_events.forget_factors(person, by=request_user(request))
        messages.success(
            request, _("Reset two-factor authentication. Users who need it will set it up when they next sign in.")
        )

    def _manageable(self, request: HttpRequest, people: QuerySet[User]) -> list[User]:
        selected = list(people)
        manageable = [person for person in selected if _may_manage(request, person)]
        if len(manageable) < len(selected):
            messages.error(request, _("Skipped administrators, and users with more permissions than you have."))
        return manageable

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_manage(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_manage(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only superusers can change privileges: administrators cannot give more than they have."""
        fields = (*super().get_readonly_fields(request, obj), "last_login", "date_joined")
        return fields if request.user.is_superuser else (*fields, *PRIVILEGE_FIELDS)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.by = request_user(request)
        return form

    def save_model(self, request: HttpRequest, person: User, form: Any, change: bool) -> None:
        """Save the form, but what also ends links and sessions by the services of people."""
        by, changed = request_user(request), set(form.changed_data) if change else set()
        email, is_active = person.email, person.is_active
        if "email" in changed:
            person.email = form.initial["email"]
        if "is_active" in changed:
            person.is_active = form.initial["is_active"]
        super().save_model(request, person, form, change)
        try:
            if "email" in changed:
                set_email(person, email, by=by)
            if "is_active" in changed:
                set_active = reactivate if is_active else deactivate
                set_active(person, by=by)
        except Problem as problem:  # another administrator was faster than the form's own check
            messages.error(request, problem.message)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        """Record the change. Django itself ends the sessions that were opened with the old password."""
        before = _password_hash(id)
        response = super().user_change_password(request, id, form_url)
        if _password_hash(id) != before:
            sign_in_events.password_changed(User.objects.get(pk=unquote(id)), by=request_user(request))
        return response

    @admin.display(description=gettext_lazy("role"))
    def role(self, person: User) -> str:
        role = role_of(person)
        return str(role.label) if role else "–"

    @admin.display(description=gettext_lazy("last sign-in"), ordering="last_login")
    def last_sign_in(self, person: User) -> str:
        time = person.last_login
        return render_cell("text", text=when(time), title=exact_time(time)) if time else "–"

    @admin.display(description=gettext_lazy("stored"), ordering="usage__bytes")
    def stored(self, person: User) -> str:
        return filesize(usage_of(person).bytes)

    @admin.display(description=gettext_lazy("used"))
    def share(self, person: User) -> str:
        return share_text(usage_of(person))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse to delete people who have files, without reading the files or showing their names."""
        owners = [person for person in objs if File.objects.filter(owner=person).exists()]
        if owners:
            protected = [_("Files owned by %(name)s") % {"name": person} for person in owners]
            return [str(person) for person in objs], {}, set(), protected
        return super().get_deleted_objects(objs, request)


@admin.register(Group)
class RoleAdmin(AuditedModelAdmin, GroupAdmin):
    """Groups, which only superusers can change: administrators could give themselves permissions otherwise."""

    filter_horizontal = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return request.user.is_superuser


@admin.register(Usage)
class UsageAdmin(LargeTableAdmin):
    """What each person has stored or reserved. Read-only: the services update it."""

    list_display = ("owner", "files", "stored", "limit", "share", "folders", "tags", "their_files")
    list_select_related = ("owner",)
    list_display_links = ("owner",)
    ordering = ("-bytes", "owner_id")
    search_fields = ("owner__username",)
    fields = ("owner", "files", "bytes", "stored", "limit", "share", "folders", "folder_limit", "tags", "tag_limit")
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
        return filesize(usage.bytes)

    @admin.display(description=gettext_lazy("limit"))
    def limit(self, usage: Usage) -> str:
        return filesize(usage.max_bytes)

    @admin.display(description=gettext_lazy("used"))
    def share(self, usage: Usage) -> str:
        return share_text(usage)

    @admin.display(description=gettext_lazy("folder limit"))
    def folder_limit(self, usage: Usage) -> int:
        return int(settings.UPLOAD_QUOTA_FOLDERS)

    @admin.display(description=gettext_lazy("tag limit"))
    def tag_limit(self, usage: Usage) -> int:
        return int(settings.UPLOAD_QUOTA_TAGS)

    @admin.display(description=gettext_lazy("page"))
    def their_files(self, usage: Usage) -> str:
        query = {"owner": usage.owner.get_username()}
        return format_html('<a href="{}">{}</a>', reverse("admin:uploads_file_changelist", query=query), _("Files"))


def _may_manage(request: HttpRequest, person: User | None) -> bool:
    """Return whether the user may manage this account.

    Administrators are managed by superusers and themselves, others by people with at least their permissions: with
    another's password one would have these.
    """
    if person is None or request.user.is_superuser or person.pk == request.user.pk:
        return True
    return not person.is_staff and is_manageable(person, by=request_user(request))


def _password_hash(id: str) -> str | None:
    return User.objects.filter(pk=unquote(id)).values_list("password", flat=True).first()


def share_text(usage: Usage) -> str:
    return f"{100 * usage.bytes / max(1, usage.max_bytes):.0f}\u00a0%"
