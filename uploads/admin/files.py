"""Files and tags in the admin. Fields that tie a row to its object are read-only; services make all changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads import actions, services
from uploads.actions import BulkResult
from uploads.actions.base import count_files
from uploads.admin.base import LargeTableAdmin, render_cell
from uploads.admin.bulk import file_actions
from uploads.admin.filters import (
    ChecksumStatusFilter,
    FolderFilter,
    OriginFilter,
    OwnerFilter,
    StateFilter,
    TagFilter,
    TimeFilter,
    TypeFilter,
    VisibilityFilter,
    date_levels,
)
from uploads.errors import Forbidden, Problem
from uploads.forms import (
    FolderField,
    TagsField,
    UploadForm,
    allow_unchanged_folder,
    parse_field,
    parse_file_name,
    parse_tags,
)
from uploads.keys import FILE_PREFIX
from uploads.listing import HIDDEN_NAME, paths_for
from uploads.models import (
    File,
    Preview,
    PreviewKind,
    PreviewState,
    State,
    Statistic,
    StatisticKind,
    StatisticStatus,
    Tag,
    Tagging,
    Visibility,
)
from uploads.names import normalize_for_search
from uploads.templatetags.formatting import filesize, when
from uploads.views.responses import request_user

MAX_SEARCH_CHARACTERS = 255
MAX_VERSIONS = 100
EDITABLE_FIELDS = ("name", "folder", "tags", "visibility")
READ_ONLY_FIELDS = (
    "link", "owner", "versions", "state", "size", "key", "origin", "etag", "checksum", "checksum_algorithm",
    "checksum_status", "refusal", "category", "declared_type", "detected_type", "content_encoding", "part_size",
    "created_at", "available_at", "verified_at", "purge_after",
)  # fmt: skip
EMPTY_VALUE = "–"


class FileForm(forms.ModelForm):  # type: ignore[type-arg]
    folder = FolderField(label=gettext_lazy("Folder"))
    tags = TagsField(required=False)

    class Meta:
        model = File
        fields = ("name", "visibility", "folder")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        path = getattr(self.instance, "place", "")
        self.initial["folder"] = f"#{self.instance.folder_id}" if HIDDEN_NAME in path else path
        self.initial["tags"] = ", ".join(getattr(self.instance, "tag_names", ()))
        allow_unchanged_folder(self, "folder", self.instance.folder)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        return parse_field(parse_file_name, name) if "name" in self.changed_data else name


@admin.register(File)
class FileAdmin(LargeTableAdmin):
    """The files that `visible_to` shows the person. Deleting moves them to trash."""

    form = FileForm
    list_display = ("thumbnail", "called", "readable_size", "added", "owner", "place", "page")
    list_display_links = ("called",)
    list_filter = (
        StateFilter, TypeFilter, VisibilityFilter, ChecksumStatusFilter, OriginFilter, TimeFilter, OwnerFilter,
        FolderFilter, TagFilter,
    )  # fmt: skip
    list_select_related = ("owner",)
    search_fields = ("name",)
    search_help_text = gettext_lazy("Search by words in the name, full storage key, or file ID")
    sortable_by = ("called", "readable_size", "added")
    empty_text = gettext_lazy("Files appear here after their first upload.")
    view_on_site = False  # the field `link` has the link

    # --- the list ---

    def get_queryset(self, request: HttpRequest) -> QuerySet[File]:
        return File.objects.visible_to(request.user)

    def get_ordering(self, request: HttpRequest) -> tuple[str, str]:
        """Sort each list by its index: the trash by purge time, versions by their file."""
        orders = {"trash": "-purge_after", "unfinished": "-created_at", "versions": "series"}
        order = orders.get(request.GET.get("state", ""), "-available_at")
        return (order, "-id")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search all visible files for a whole key or id, and the filtered list for words of the name."""
        text = search_term.strip()
        visible = File.objects.visible_to(request.user)
        if text.startswith(FILE_PREFIX):
            return visible.filter(key=text), False
        if (pk := _as_id(text)) is not None:
            return visible.by_permanent_ids([pk]) | visible.filter(pk=pk), False
        return (queryset.matching(text) if len(text) <= MAX_SEARCH_CHARACTERS else queryset.none()), False

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Add thumbnails, folders and tags to one page of files, with four queries."""
        thumbnails = Preview.objects.filter(file__in=rows, kind=PreviewKind.THUMBNAIL, state=PreviewState.READY)
        with_thumbnail = set(thumbnails.values_list("file_id", flat=True))
        paths, tags = paths_for(request_user(request), (file.folder_id for file in rows)), _tags_of(rows)
        for file in rows:
            file.has_thumbnail = file.pk in with_thumbnail and file.current
            file.place = paths.get(file.folder_id, "")
            file.tag_names = tags.get(file.pk, [])

    def get_actions(self, request: HttpRequest) -> Any:
        return file_actions()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {"days": date_levels(request), "events": request.user.has_perm("uploads.view_event")}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=gettext_lazy("preview"))
    def thumbnail(self, file: Any) -> str:
        url = reverse("thumbnail", args=[file.permanent_id]) if file.has_thumbnail else ""
        return render_cell("thumbnail", url=url, extension=PurePosixPath(file.name).suffix[1:5].upper())

    @admin.display(description=gettext_lazy("name"), ordering="natural_name")
    def called(self, file: Any) -> str:
        return render_cell("text", text=file.name, note=", ".join(file.tag_names))

    @admin.display(description=gettext_lazy("folder"))
    def place(self, file: Any) -> str:
        return str(file.place) or EMPTY_VALUE

    @admin.display(description=gettext_lazy("tags"))
    def tag_names(self, file: Any) -> str:
        return ", ".join(file.tag_names) or EMPTY_VALUE

    @admin.display(description=gettext_lazy("size"), ordering="size")
    def readable_size(self, file: File) -> str:
        return filesize(file.size)

    @admin.display(description=gettext_lazy("added"), ordering="available_at")
    def added(self, file: File) -> str:
        time = file.available_at or file.created_at
        return render_cell("text", text=when(time), title=time.isoformat(timespec="seconds"))

    @admin.display(description=gettext_lazy("page"))
    def page(self, file: File) -> str:
        if file.state != State.AVAILABLE or not file.current:
            return EMPTY_VALUE
        return render_cell("link", url=file.get_absolute_url(), text=_("Open"))

    # --- one file ---

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> File | None:
        file = super().get_object(request, object_id, from_field)
        if file is not None:
            self.annotate_page(request, [file])
        return file

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("uploads.add_file")

    def has_view_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        return request.user.has_perm("uploads.view_file")

    def has_change_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        if obj is None:
            return super().has_change_permission(request)
        return File.objects.changeable_by(request.user).listed().filter(pk=obj.pk).exists()

    def has_delete_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        if obj is None or not allowed:
            return allowed
        return File.objects.removable_by(request.user).listed().filter(pk=obj.pk).exists()

    def get_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        edited = (
            EDITABLE_FIELDS
            if self.has_change_permission(request, obj)
            else ("name", "place", "tag_names", "visibility")
        )
        return (*edited, *READ_ONLY_FIELDS)

    def get_readonly_fields(self, request: HttpRequest, obj: File | None = None) -> Any:
        """Make the visibility read-only for everyone but the owner."""
        is_others = obj is not None and obj.owner_id != request.user.pk
        return ("place", "tag_names", *READ_ONLY_FIELDS, *(("visibility",) if is_others else ()))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if "folder" in form.base_fields:
            form.base_fields["folder"].user = request_user(request)  # type: ignore[attr-defined]
        return form

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Show the upload tray of the library's pages, or its form without JavaScript."""
        if not self.has_add_permission(request):
            return super().add_view(request, form_url, extra_context)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        context = {
            **self.admin_site.each_context(request),
            "title": _("Upload files"),
            "opts": self.opts,
            "form": UploadForm(),
        }
        return TemplateResponse(request, "admin/uploads/file/add.html", context)

    def save_model(self, request: HttpRequest, obj: File, form: Any, change: bool) -> None:
        """Save the changed fields through services, which check the current permissions."""
        user, data = request_user(request), form.cleaned_data
        if "name" in form.changed_data:
            services.rename(obj, data["name"], by=user)
        if "folder" in form.changed_data:
            _require_changed(actions.move_files([obj.permanent_id], data["folder"], by=user))
        if "visibility" in form.changed_data:
            _require_changed(actions.set_visibility([obj.permanent_id], Visibility(data["visibility"]), by=user))
        if "tags" in form.changed_data:
            _set_tags(obj, data["tags"], user)

    def delete_model(self, request: HttpRequest, obj: File) -> None:
        """Move the file to trash after the commit: the admin deletes inside a transaction."""
        transaction.on_commit(lambda: _trash(request, obj))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List the files alone: previews, versions and tags stay while a file is in the trash."""
        names = [str(obj) for obj in objs]
        return names, {str(self.opts.verbose_name_plural): len(names)}, set(), []

    @admin.display(description=gettext_lazy("link"))
    def link(self, file: File) -> str:
        return self.page(file)

    @admin.display(description=gettext_lazy("versions"))
    def versions(self, file: File) -> str:
        rows = list(File.objects.versions_of(file).available().order_by("-available_at", "-id")[:MAX_VERSIONS])
        return render_cell("versions", files=rows) if rows else EMPTY_VALUE


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _tags_of(files: Sequence[File]) -> dict[UUID, list[str]]:
    """Return the names of each file's tags, sorted as in lists, with one query."""
    tags: dict[UUID, list[str]] = {}
    rows = Tagging.objects.filter(file__in=[file.pk for file in files]).order_by("tag__normalized_name")
    for pk, name in rows.values_list("file_id", "tag__name"):
        tags.setdefault(pk, []).append(name)
    return tags


def _set_tags(file: File, names: Sequence[str], user: User) -> None:
    """Add and remove tags so that the file has exactly these."""
    before = {normalize_for_search(name): name for name in _tags_of([file]).get(file.pk, [])}
    after = {normalize_for_search(name): name for name in names}
    add = [name for normalized_name, name in after.items() if normalized_name not in before]
    remove = [name for normalized_name, name in before.items() if normalized_name not in after]
    if add or remove:
        _require_changed(actions.tag_files([file.permanent_id], add=add, remove=remove, by=user))


def _require_changed(result: BulkResult) -> None:
    if not result.files:
        raise Forbidden(
            _("You don't have permission to change this file, or it no longer exists. Open the list again.")
        )


def _trash(request: HttpRequest, file: File) -> None:
    try:
        actions.trash_file(file, by=request_user(request))
    except Problem as problem:
        messages.warning(request, problem.message)


class TagForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Tag
        fields = ("name",)

    def clean_name(self) -> str:
        if "," in self.cleaned_data["name"]:
            raise ValidationError(_("A tag can't contain commas."))
        (name,) = parse_field(parse_tags, self.cleaned_data["name"])
        existing = Tag.objects.filter(normalized_name=normalize_for_search(name)).exclude(pk=self.instance.pk).first()
        if existing is not None:
            raise ValidationError(
                _(
                    "A tag named “%(name)s” already exists; case and accents are ignored. Use that tag for the files, "
                    "then delete this one."
                )
                % {"name": existing.name}
            )  # fmt: skip
        return name


@admin.register(Tag)
class TagAdmin(LargeTableAdmin):
    form = TagForm
    list_display = ("name", "files")
    ordering = ("normalized_name",)
    search_fields = ("normalized_name",)
    empty_text = gettext_lazy("Tags appear here when someone adds one to a file.")
    sortable_by = ()
    fields = ("name",)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        for word in normalize_for_search(search_term[:200]).split():
            queryset = queryset.filter(normalized_name__contains=word)
        return queryset, False

    def annotate_page(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        counts = file_counts(rows)
        for tag in rows:
            tag.count = counts.get(str(tag.pk), 0)

    def save_model(self, request: HttpRequest, obj: Tag, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request_user(request)
        super().save_model(request, obj, form, change)

    @admin.display(description=gettext_lazy("files"))
    def files(self, tag: Any) -> str:
        url = reverse("admin:uploads_file_changelist", query={"tag": tag.name})
        return render_cell("link", url=url, text=tag.count)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List the tags with their file counts from the statistics: a tag may be on a million files."""
        tags = list(objs)
        counts = file_counts(tags)
        lines = [f"{tag}: {count_files(counts.get(str(tag.pk), 0))}" for tag in tags]
        return lines, {str(self.opts.verbose_name_plural): len(tags)}, set(), []


def file_counts(tags: Sequence[Tag]) -> dict[str, int]:
    """Return the number of files of each tag by its id, as of the last update of the statistics."""
    statistics = Statistic.objects.filter(
        kind=StatisticKind.TAG, status=StatisticStatus.STORED, key__in=[str(tag.pk) for tag in tags]
    )
    return dict(statistics.values_list("key", "files"))
