"""Tags in the admin: their names, and how many files have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.actions.base import count_files
from uploads.admin.base import LargeTableAdmin, render_cell
from uploads.forms import parse_field, parse_tags
from uploads.models import Kind, Statistic, Status, Tag
from uploads.names import normalize_for_search
from uploads.views.responses import request_user


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
    statistics = Statistic.objects.filter(kind=Kind.TAG, status=Status.STORED, key__in=[str(tag.pk) for tag in tags])
    return dict(statistics.values_list("key", "files"))
