"""Folders in the admin, with their access rules. Services make all changes, so that paths and inherited rules stay
consistent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.admin.base import LargeTableAdmin, render_cell
from uploads.admin.bulk import folder_actions
from uploads.admin.filters import FolderStateFilter, ParentFilter, is_trash
from uploads.errors import Problem
from uploads.forms import FolderField, allow_unchanged_folder, folder_name, parse_field
from uploads.listing import HIDDEN_NAME, as_path, breadcrumbs_for
from uploads.models import AccessLevel, Folder, Grant, Statistic, StatisticKind, StatisticStatus
from uploads.services import folders
from uploads.templatetags.formatting import filesize, when
from uploads.views.responses import request_user

TRASH_COLUMNS = ("whole", "kept_until", "created_by")


class FolderForm(forms.ModelForm):  # type: ignore[type-arg]
    parent = FolderField(label=gettext_lazy("Parent folder"))

    class Meta:
        model = Folder
        fields = ("name", "parent", "restricted")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        parent_path = getattr(self.instance, "parent_path", "")
        self.initial["parent"] = f"#{self.instance.parent_id}" if HIDDEN_NAME in parent_path else parent_path
        allow_unchanged_folder(self, "parent", self.instance.parent)

    def clean_name(self) -> str:
        return parse_field(folder_name, self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        parent, name = data.get("parent"), data.get("name")
        if parent is not None and self.instance.pk in parent.path:
            self.add_error("parent", _("A folder can't be inside itself. Choose another parent folder."))
        elif (
            "parent" in data
            and (self.instance.pk is None or "parent" in self.changed_data)
            and self._add_permission_error(parent)
        ):
            pass  # without permission, no error may reveal the names in that folder
        elif name and "parent" in data:
            duplicates = Folder.objects.living().children_of(parent).filter(name=name).exclude(pk=self.instance.pk)
            if duplicates.exists():
                self.add_error("name", _("A folder named “%(name)s” already exists here.") % {"name": name})
        return data

    def _add_permission_error(self, parent: Folder | None) -> bool:
        try:
            folders.require_writable(parent, self.fields["parent"].user)  # type: ignore[attr-defined]
        except Problem as problem:
            self.add_error("parent", problem.message)
            return True
        return False

    def _get_validation_exclusions(self) -> set[str]:
        """Leave the unique name to clean(), which has a clearer message and ignores removed folders."""
        return {*super()._get_validation_exclusions(), "parent"}  # type: ignore[misc]


class GrantFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """The groups' access levels. One group must manage the folder, or only superusers could change it again."""

    def levels(self) -> dict[Group, AccessLevel]:
        rows = [form.cleaned_data for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        return {row["group"]: AccessLevel(row["level"]) for row in rows if row.get("group")}

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        restricted = "restricted" in self.data  # a field of the folder's form on the same page
        if restricted and AccessLevel.MANAGE not in self.levels().values():
            raise ValidationError(_("Select at least one group that can manage the folder."))
        if not restricted and self.levels():
            raise ValidationError(_("Also select “restricted to selected groups”, or remove the groups."))


class GrantInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Grant
    formset = GrantFormSet
    extra = 1
    verbose_name_plural = gettext_lazy("Access for selected groups, including subfolders")

    def _is_managed(self, request: HttpRequest, obj: Folder | None) -> bool:
        return obj is None or Folder.objects.managed_by(request.user).filter(pk=obj.pk).exists()

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("uploads.view_folder")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_managed(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_managed(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._is_managed(request, obj)


@admin.register(Folder)
class FolderAdmin(LargeTableAdmin):
    form = FolderForm
    inlines = (GrantInline,)
    list_display = ("whole", "inside", "files", "stored", "access", "created_by")
    list_display_links = ("whole",)
    list_filter = (FolderStateFilter, ParentFilter)
    list_select_related = ("created_by", "access_root")
    ordering = ("natural_name", "id")
    search_fields = ("normalized_name",)
    search_help_text = gettext_lazy("Search by words in the folder name")
    empty_text = gettext_lazy("Folders appear here when someone creates one in the library.")
    sortable_by = ()
    fields = ("name", "parent", "restricted", "created_by", "created_at")
    readonly_fields = ("created_by", "created_at")
    view_on_site = False

    def get_fields(self, request: HttpRequest, obj: Folder | None = None) -> tuple[str, ...]:
        return self.fields if obj else tuple(name for name in self.fields if name not in self.readonly_fields)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Folder]:
        """Return the folders of the trash too, which FolderStateFilter and get_object leave out."""
        return Folder.objects.visible_to(request.user, with_removed=True)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return TRASH_COLUMNS if is_trash(request) else self.list_display

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        """Link the folders of the library; those in the trash have no page."""
        return None if is_trash(request) else self.list_display_links

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return queryset.matching(search_term[:255]), False

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Add paths and file counts from the statistics to one page of folders, with three queries."""
        paths = breadcrumbs_for(request_user(request), (folder.pk for folder in rows), with_removed=True)
        keys = [str(folder.pk) for folder in rows]
        statistics = Statistic.objects.filter(kind=StatisticKind.FOLDER, status=StatisticStatus.STORED, key__in=keys)
        counts = {key: (files, size) for key, files, size in statistics.values_list("key", "files", "bytes")}
        for folder in rows:
            folder.whole_path = as_path(paths[folder.pk]) if folder.pk in paths else folder.name
            folder.parent_path = folder.whole_path.rpartition("/")[0]
            folder.counts = counts.get(str(folder.pk), (0, 0))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Folder | None:
        folder: Folder | None = super().get_object(request, object_id, from_field)
        if folder is None or folder.removed_at:
            return None
        self.annotate_page(request, [folder])
        return folder

    @admin.display(description=gettext_lazy("path"))
    def whole(self, folder: Any) -> str:
        return render_cell("text", text=folder.whole_path)

    @admin.display(description=gettext_lazy("contents"))
    def inside(self, folder: Any) -> str:
        url = reverse("admin:uploads_folder_changelist", query={"inside": f"#{folder.pk}"})
        return render_cell("link", url=url, text=_("Folders"))

    @admin.display(description=gettext_lazy("files"))
    def files(self, folder: Any) -> str:
        url = reverse("admin:uploads_file_changelist", query={"folder": f"#{folder.pk}"})
        return render_cell("link", url=url, text=folder.counts[0])

    @admin.display(description=gettext_lazy("stored"))
    def stored(self, folder: Any) -> str:
        return filesize(folder.counts[1])

    @admin.display(description=gettext_lazy("kept until"))
    def kept_until(self, folder: Any) -> str:
        return render_cell(
            "text", text=when(folder.purge_after), title=folder.purge_after.isoformat(timespec="seconds")
        )

    @admin.display(description=gettext_lazy("access"))
    def access(self, folder: Folder) -> str:
        if folder.access_root is None:
            return _("everyone")
        return _("restricted") if folder.restricted else _("inherited from “%(name)s”") % {"name": folder.access_root}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("uploads.add_file") and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Folder | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or folders.can_edit(obj, request_user(request)))

    def has_delete_permission(self, request: HttpRequest, obj: Folder | None = None) -> bool:
        return False  # the action moves folders to the trash

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if "parent" in form.base_fields:
            form.base_fields["parent"].user = request_user(request)  # type: ignore[attr-defined]
        return form

    def save_model(self, request: HttpRequest, obj: Folder, form: Any, change: bool) -> None:
        data, user = form.cleaned_data, request_user(request)
        if not change:
            folder = folders.create(data["name"], parent=data["parent"], by=user)
            obj.pk, obj.path, obj.access_root_id = folder.pk, folder.path, folder.access_root_id
            obj._state.adding = False
            return
        folder = Folder.objects.get(pk=obj.pk)
        if "name" in form.changed_data:
            folders.rename(folder, data["name"], by=user)
        if "parent" in form.changed_data:
            folders.move(folder, data["parent"], by=user)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Replace the folder's access rules by those of the form, or by the inherited ones."""
        restricted = form.cleaned_data["restricted"]
        has_changed = "restricted" in form.changed_data or any(formset.has_changed() for formset in formsets)
        for formset in formsets:
            formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []
            if has_changed and (restricted or "restricted" in form.changed_data):
                levels = formset.levels() if restricted else None
                folders.set_access(Folder.objects.get(pk=form.instance.pk), levels, by=request_user(request))

    def get_actions(self, request: HttpRequest) -> Any:
        return folder_actions(in_trash=is_trash(request))
